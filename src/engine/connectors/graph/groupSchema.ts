/**
 * The properties of a Graph group that can be imported.
 *
 * Names and types are those of the metadata of Graph v1.0; what Graph gives for a single group only is in
 * https://learn.microsoft.com/graph/api/resources/group.
 */

import { attributeTable, type GraphTypeSchema, words } from "./objectSchema.ts";

export const groupSchema: GraphTypeSchema = {
  name: "group",
  attributes: attributeTable(
    {
      string: words(`classification description displayName id mail mailNickname membershipRule
        membershipRuleProcessingState onPremisesDomainName onPremisesNetBiosName onPremisesSamAccountName
        onPremisesSecurityIdentifier preferredDataLocation preferredLanguage securityIdentifier theme uniqueName
        visibility`),
      boolean: words(
        "isAssignableToRole isManagementRestricted mailEnabled onPremisesSyncEnabled securityEnabled",
      ),
      dateTime: words("createdDateTime expirationDateTime onPremisesLastSyncDateTime renewedDateTime"),
    },
    {
      string: words("groupTypes proxyAddresses resourceBehaviorOptions resourceProvisioningOptions"),
      reference: ["members"],
    },
    // uniqueName is not among them: the creation of a group sets it.
    new Set(
      words(`createdDateTime expirationDateTime id isManagementRestricted mail onPremisesDomainName
        onPremisesLastSyncDateTime onPremisesNetBiosName onPremisesSamAccountName onPremisesSecurityIdentifier
        onPremisesSyncEnabled proxyAddresses renewedDateTime securityIdentifier`),
    ),
  ),
  refused: new Map([
    ...words(`allowExternalSenders autoSubscribeNewMembers hideFromAddressLists hideFromOutlookClients isArchived
      isSubscribedByMail unseenCount`).map(
      (name) => [name, "Graph gives it for a single group only, not in a listing"] as const,
    ),
    ...words("assignedLabels assignedLicenses licenseProcessingState onPremisesProvisioningErrors").map(
      (name) => [name, "it is a structure, not a value"] as const,
    ),
    ...words("memberOf transitiveMemberOf transitiveMembers").map(
      (name) => [name, "Graph derives it; select members"] as const,
    ),
    ["owners", "no import tells when it changes"],
  ]),
};
