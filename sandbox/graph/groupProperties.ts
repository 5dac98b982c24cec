/**
 * The properties of a Graph v1.0 `group`: name, type, and what the service allows with each.
 * https://learn.microsoft.com/graph/api/resources/group, https://learn.microsoft.com/graph/aad-advanced-queries
 */
import type { PropertyType, ResourceType } from "./properties.ts";
import { support } from "./properties.ts";

const namesByType: Partial<Record<PropertyType, string>> = {
  text: `classification description displayName id mail mailNickname membershipRule membershipRuleProcessingState
    onPremisesDomainName onPremisesNetBiosName onPremisesSamAccountName onPremisesSecurityIdentifier
    preferredDataLocation preferredLanguage securityIdentifier theme uniqueName visibility`,
  boolean: "isAssignableToRole isManagementRestricted mailEnabled onPremisesSyncEnabled securityEnabled",
  dateTime: "createdDateTime deletedDateTime expirationDateTime onPremisesLastSyncDateTime renewedDateTime",
  texts: "groupTypes proxyAddresses resourceBehaviorOptions resourceProvisioningOptions",
  navigation: "memberOf members owners transitiveMemberOf transitiveMembers",
};
const words = (list: string) => list.split(/\s+/);
const flag = support("eq", "ne not in null");
const text = support("eq in startswith ge le", "ne not null");

export const groupResource: ResourceType = {
  name: "group",
  propertyTypes: new Map(
    (Object.keys(namesByType) as PropertyType[]).flatMap((type) =>
      words(namesByType[type]!).map((name): [string, PropertyType] => [name, type]),
    ),
  ),
  defaultProperties: words(`id deletedDateTime classification createdDateTime description displayName
    expirationDateTime groupTypes isAssignableToRole mail mailEnabled mailNickname membershipRule
    onPremisesLastSyncDateTime onPremisesSamAccountName onPremisesSecurityIdentifier onPremisesSyncEnabled
    preferredDataLocation proxyAddresses renewedDateTime securityEnabled securityIdentifier visibility`),
  readOnlyProperties: new Set(
    words(`id createdDateTime deletedDateTime expirationDateTime mail onPremisesDomainName
      onPremisesLastSyncDateTime onPremisesNetBiosName onPremisesSamAccountName onPremisesSecurityIdentifier
      onPremisesSyncEnabled proxyAddresses renewedDateTime securityIdentifier uniqueName`),
  ),
  filterSupport: new Map([
    ["id", support("eq in", "ne not")],
    ["displayName", text],
    ["mailNickname", text],
    ["mail", text],
    ["description", support("", "eq ne not ge le startswith")],
    ["securityEnabled", flag],
    ["mailEnabled", flag],
    ["onPremisesSyncEnabled", flag],
  ]),
};
