/**
 * The properties of a Graph user that can be imported.
 *
 * Names and types are those of the metadata of Graph v1.0 (microsoftgraph/msgraph-metadata); what one may read
 * from a single user only, and what a collection request therefore refuses with 501, is in
 * https://learn.microsoft.com/graph/api/resources/user.
 */

import { attributeTable, type GraphTypeSchema, words } from "./objectSchema.ts";

const extensionAttributes = Array.from(
  { length: 15 },
  (_, index) => `onPremisesExtensionAttributes.extensionAttribute${index + 1}`,
);

const readOnly = new Set(
  words(`createdDateTime creationType externalUserState externalUserStateChangeDateTime id identities identityParentId imAddresses
    isManagementRestricted lastPasswordChangeDateTime legalAgeGroupClassification onPremisesDistinguishedName
    onPremisesDomainName onPremisesLastSyncDateTime onPremisesSamAccountName onPremisesSecurityIdentifier
    onPremisesSyncEnabled onPremisesUserPrincipalName proxyAddresses securityIdentifier
    signInSessionsValidFromDateTime`),
);

export const userSchema: GraphTypeSchema = {
  name: "user",
  attributes: attributeTable(
    {
      string: [
        ...words(`ageGroup city companyName consentProvidedForMinor country creationType department displayName
          employeeId employeeType externalUserState faxNumber givenName id identityParentId jobTitle
          legalAgeGroupClassification mail mailNickname mobilePhone officeLocation onPremisesDistinguishedName
          onPremisesDomainName onPremisesImmutableId onPremisesSamAccountName onPremisesSecurityIdentifier
          onPremisesUserPrincipalName passwordPolicies postalCode preferredDataLocation preferredLanguage
          securityIdentifier state streetAddress surname usageLocation userPrincipalName userType`),
        ...extensionAttributes,
      ],
      boolean: words(
        "accountEnabled isManagementRestricted isResourceAccount onPremisesSyncEnabled showInAddressList",
      ),
      dateTime: words(`createdDateTime employeeHireDate employeeLeaveDateTime externalUserStateChangeDateTime
        lastPasswordChangeDateTime onPremisesLastSyncDateTime signInSessionsValidFromDateTime`),
      reference: ["manager"],
    },
    {
      string: words("businessPhones identities imAddresses otherMails proxyAddresses"),
      reference: ["sponsors"],
    },
    readOnly,
  ),
  refused: new Map([
    ...words(`aboutMe birthday deviceEnrollmentLimit hireDate interests mailboxSettings mySite pastProjects preferredName
      print responsibilities schools skills`).map(
      (name) => [name, "Graph gives it for a single user only, not in a listing"] as const,
    ),
    ...words(`assignedLicenses assignedPlans authorizationInfo customSecurityAttributes employeeOrgData
      licenseAssignmentStates onPremisesProvisioningErrors passwordProfile provisionedPlans serviceProvisioningErrors
      signInActivity`).map((name) => [name, "it is a structure, not a value"] as const),
    [
      "onPremisesExtensionAttributes",
      "it is a structure; select its parts, such as onPremisesExtensionAttributes.extensionAttribute1",
    ],
    ["directReports", "Graph derives it; select manager, which it is the other end of"],
    ...words("memberOf transitiveMemberOf").map(
      (name) => [name, "Graph derives it; select the members of the object type group"] as const,
    ),
    ["ownedObjects", "no import tells when it changes"],
  ]),
};
