/**
 * The properties of a Graph v1.0 `user`: name, type, and what the service allows with each.
 *
 * Names and types are those of the service's metadata; which filters work with and without the advanced query
 * parameters is the table in https://learn.microsoft.com/graph/aad-advanced-queries, which properties one may
 * read from a single user only is in https://learn.microsoft.com/graph/api/resources/user.
 */

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/**
 * Properties of one user as the tenant keeps them. An absent property was never set, `null` is one that was
 * cleared: a listing shows both as null, a delta round tells them apart.
 */
export type UserProperties = Readonly<Record<string, Json>>;

export type PropertyType =
  | "text"
  | "boolean"
  | "integer"
  | "dateTime"
  | "texts"
  | "objects"
  | "object"
  | "navigation";

const namesByType: Record<PropertyType, string> = {
  text: `aboutMe ageGroup city companyName consentProvidedForMinor country creationType department displayName
    employeeId employeeType externalUserState faxNumber givenName id identityParentId jobTitle
    legalAgeGroupClassification mail mailNickname mobilePhone mySite officeLocation onPremisesDistinguishedName
    onPremisesDomainName onPremisesImmutableId onPremisesSamAccountName onPremisesSecurityIdentifier
    onPremisesUserPrincipalName passwordPolicies postalCode preferredDataLocation preferredLanguage preferredName
    securityIdentifier state streetAddress surname usageLocation userPrincipalName userType`,
  boolean: "accountEnabled isManagementRestricted isResourceAccount onPremisesSyncEnabled showInAddressList",
  integer: "deviceEnrollmentLimit",
  dateTime: `birthday createdDateTime deletedDateTime employeeHireDate employeeLeaveDateTime
    externalUserStateChangeDateTime hireDate lastPasswordChangeDateTime onPremisesLastSyncDateTime
    signInSessionsValidFromDateTime`,
  texts:
    "businessPhones imAddresses interests otherMails pastProjects proxyAddresses responsibilities schools skills",
  objects: `assignedLicenses assignedPlans identities licenseAssignmentStates onPremisesProvisioningErrors
    provisionedPlans serviceProvisioningErrors`,
  object: `authorizationInfo customSecurityAttributes employeeOrgData mailboxSettings
    onPremisesExtensionAttributes passwordProfile print signInActivity`,
  navigation: `appRoleAssignments directReports manager memberOf ownedDevices ownedObjects photo
    registeredDevices sponsors transitiveMemberOf`,
};

function names(list: string): string[] {
  return list.split(/\s+/);
}

/** Type by property name. */
export const propertyTypes: ReadonlyMap<string, PropertyType> = new Map(
  (Object.keys(namesByType) as PropertyType[]).flatMap((type) =>
    names(namesByType[type]).map((name): [string, PropertyType] => [name, type]),
  ),
);

/** What a request without `$select` gets, in the service's order. */
export const defaultProperties: readonly string[] = names(
  "businessPhones displayName givenName jobTitle mail mobilePhone officeLocation preferredLanguage surname userPrincipalName id",
);

/** Kept outside the directory: a collection request that selects one is answered 501. */
export const singleUserOnly: ReadonlySet<string> = new Set(
  names(
    "aboutMe birthday hireDate interests mailboxSettings mySite pastProjects preferredName responsibilities schools skills",
  ),
);

/** What no client may write. */
export const readOnlyProperties: ReadonlySet<string> = new Set(
  names(
    "id createdDateTime creationType deletedDateTime externalUserState externalUserStateChangeDateTime assignedPlans provisionedPlans proxyAddresses securityIdentifier signInActivity",
  ),
);

export type FilterOperator = "eq" | "ne" | "not" | "ge" | "le" | "in" | "startswith" | "endswith" | "null";

export interface FilterSupport {
  readonly byDefault: ReadonlySet<FilterOperator>;
  readonly advanced: ReadonlySet<FilterOperator>;
}

export function support(byDefault: string, advanced: string): FilterSupport {
  const operators = (list: string) => new Set(list.split(" ").filter(Boolean) as FilterOperator[]);
  return { byDefault: operators(byDefault), advanced: operators(advanced) };
}

const identifying = support("eq", "ne not");
const flag = support("eq in", "ne not ge le null");
const stamp = support("eq ge le", "ne not in");
const word = support("eq in startswith ge le", "ne not null");
const advancedWord = support("", "eq ne not ge le in startswith null");

/** What `$filter` may do with a property; a property that is not here cannot be filtered. */
export const filterSupport: ReadonlyMap<string, FilterSupport> = new Map([
  ["id", support("eq in", "ne not")],
  ["accountEnabled", flag],
  ["userType", support("eq in", "ne not null")],
  ["creationType", support("eq in", "ne not")],
  ["createdDateTime", stamp],
  ["deletedDateTime", stamp],
  ["externalUserState", support("", "eq ne not in null")],
  ["displayName", support("eq in startswith", "ne not null")],
  ["mail", support("eq in startswith ge le", "ne not endswith null")],
  ["userPrincipalName", support("eq in startswith le", "ne not endswith")],
  ["givenName", word],
  ["surname", word],
  ["mailNickname", word],
  ["department", word],
  ["city", word],
  ["country", word],
  ["state", word],
  ["usageLocation", word],
  ["jobTitle", support("eq in ge le", "ne not null startswith")],
  ["employeeId", support("eq startswith", "ne in le not null")],
  ["onPremisesSyncEnabled", flag],
  ["onPremisesSecurityIdentifier", identifying],
  ["onPremisesImmutableId", support("eq in ge le", "ne not")],
  ["companyName", advancedWord],
  ["employeeType", advancedWord],
  ["mobilePhone", advancedWord],
  ["officeLocation", advancedWord],
  ["postalCode", advancedWord],
  ["preferredLanguage", advancedWord],
  ["streetAddress", advancedWord],
]);

/** How a property that was never set looks in a listing. */
export function unsetValue(name: string, { propertyTypes } = userResource): Json {
  const type = propertyTypes.get(name);
  return type === "texts" || type === "objects" ? [] : null;
}

/** What requests may do with the objects of one type. */
export interface ResourceType {
  readonly name: "user" | "group";
  readonly propertyTypes: ReadonlyMap<string, PropertyType>;
  readonly defaultProperties: readonly string[];
  readonly readOnlyProperties: ReadonlySet<string>;
  readonly filterSupport: ReadonlyMap<string, FilterSupport>;
}

export const userResource: ResourceType = {
  name: "user",
  propertyTypes,
  defaultProperties,
  readOnlyProperties,
  filterSupport,
};

const isoInstant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?(Z|[+-]\d\d:\d\d)$/;

/** Whether the administrator may give `value` to the property: its type, or null. */
export function fitsType(name: string, value: Json, { propertyTypes } = userResource): boolean {
  if (value === null) return true;
  switch (propertyTypes.get(name)) {
    case "navigation":
      return name === "manager" ? typeof value === "string" : name === "sponsors" && Array.isArray(value);
    case "text":
      return typeof value === "string";
    case "boolean":
      return typeof value === "boolean";
    case "integer":
      return Number.isInteger(value);
    case "dateTime":
      return typeof value === "string" && isoInstant.test(value);
    case "texts":
      return Array.isArray(value) && value.every((item) => typeof item === "string");
    case "objects":
      return Array.isArray(value) && value.every((item) => typeof item === "object" && item !== null);
    case "object":
      return typeof value === "object" && !Array.isArray(value);
    default:
      return false;
  }
}
