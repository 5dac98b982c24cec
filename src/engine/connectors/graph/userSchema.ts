/**
 * The properties of a Graph user that can be imported, and how their JSON becomes attribute values.
 *
 * Names and types are those of the metadata of Graph v1.0 (microsoftgraph/msgraph-metadata); what one may read
 * from a single user only, and what a collection request therefore refuses with 501, is in
 * https://learn.microsoft.com/graph/api/resources/user.
 */

import { closest } from "../../core/expression/problems.ts";
import type { AttributeChange } from "../../core/model.ts";
import type { Attributes, AttributeType, AttributeValue, Value } from "../../core/values.ts";
import { dateTimeToMs, isDateTime, valueFromJson, valuesOf } from "../../core/values.ts";
import type { ConnectorDefinition, ObjectTypeSchema, SchemaAttribute } from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import type { GraphUser } from "./filter.ts";

const userType = "user";

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}

const singleValued: Partial<Record<AttributeType, string[]>> = {
  string: words(`ageGroup city companyName consentProvidedForMinor country creationType department displayName
    employeeId employeeType externalUserState faxNumber givenName id identityParentId jobTitle
    legalAgeGroupClassification mail mailNickname mobilePhone officeLocation onPremisesDistinguishedName
    onPremisesDomainName onPremisesImmutableId onPremisesSamAccountName onPremisesSecurityIdentifier
    onPremisesUserPrincipalName passwordPolicies postalCode preferredDataLocation preferredLanguage
    securityIdentifier state streetAddress surname usageLocation userPrincipalName userType`),
  boolean: words(
    "accountEnabled isManagementRestricted isResourceAccount onPremisesSyncEnabled showInAddressList",
  ),
  dateTime: words(`createdDateTime employeeHireDate employeeLeaveDateTime externalUserStateChangeDateTime
    lastPasswordChangeDateTime onPremisesLastSyncDateTime signInSessionsValidFromDateTime`),
};
const multiValuedText = words("businessPhones identities imAddresses otherMails proxyAddresses");

const readOnly = new Set(
  words(`createdDateTime creationType externalUserState externalUserStateChangeDateTime id identities identityParentId imAddresses
    isManagementRestricted lastPasswordChangeDateTime legalAgeGroupClassification onPremisesDistinguishedName
    onPremisesDomainName onPremisesLastSyncDateTime onPremisesSamAccountName onPremisesSecurityIdentifier
    onPremisesSyncEnabled onPremisesUserPrincipalName proxyAddresses securityIdentifier
    signInSessionsValidFromDateTime`),
);

/** Known to Graph, but not importable here; the reason is the message. */
const refused: ReadonlyMap<string, string> = new Map([
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
  ...words("directReports manager memberOf ownedObjects sponsors transitiveMemberOf").map(
    (name) => [name, "references are not imported by this connector"] as const,
  ),
]);

const extensionAttributeNames = Array.from(
  { length: 15 },
  (_, index) => `onPremisesExtensionAttributes.extensionAttribute${index + 1}`,
);

/** Every property of the metadata that can be imported, by name. */
export const userAttributes: ReadonlyMap<string, SchemaAttribute> = new Map(
  [
    ...Object.entries(singleValued).flatMap(([type, names]) =>
      names.map((name) => ({ name, type: type as AttributeType, multiValued: false })),
    ),
    ...multiValuedText.map((name) => ({ name, type: "string" as const, multiValued: true })),
    ...extensionAttributeNames.map((name) => ({ name, type: "string" as const, multiValued: false })),
  ].map((attribute) => [
    attribute.name,
    readOnly.has(attribute.name) ? { ...attribute, readOnly: true } : attribute,
  ]),
);

/**
 * A directory extension (`extension_<application id>_<name>`). The metadata does not know it, so it is read as
 * text; a boolean or integer extension as its JSON text.
 */
const directoryExtension = /^extension_[0-9a-f]{32}_\w+$/;

/** The selected attributes of the users of one connector. */
export interface SelectedUserAttributes {
  readonly schema: ObjectTypeSchema;
  /** Graph properties for `$select`, sorted, `id` among them; without those that only a filter needs. */
  readonly properties: readonly string[];
  /**
   * Null, empty text and empty lists are absent; blanks stay as they are.
   * @throws TypeError naming the property whose value is not of its type.
   */
  attributesOf(user: GraphUser): Attributes;
  /**
   * The body of a request that makes these changes; no value clears.
   * @throws TypeError without the value, for an attribute that is not selected and a value that is not of its type.
   */
  bodyOf(changes: readonly Pick<AttributeChange, "name" | "after">[]): Record<string, unknown>;
}

/** @throws ConnectorError "configuration" for another object type, or an attribute that cannot be imported. */
export function selectUserAttributes(definition: ConnectorDefinition): SelectedUserAttributes {
  const [objectType, ...others] = definition.objectTypes;
  if (objectType === undefined || others.length > 0 || objectType.name !== userType) {
    const names = definition.objectTypes.map(({ name }) => name).join(", ");
    throw new ConnectorError(
      "configuration",
      `Connector ${definition.name}: a Graph connector has the one object type "${userType}", not "${names}".`,
    );
  }
  const selected = objectType.attributes.map((name) => attributeNamed(name, definition.name));
  const attributes = new Map(selected.map((attribute) => [attribute.name, attribute]));
  const properties = new Set(["id", ...selected.map(({ name }) => name.split(".", 1)[0]!)]);
  return {
    schema: { name: userType, attributes },
    properties: [...properties].sort(),
    attributesOf: (user) => {
      const values: Record<string, AttributeValue> = {};
      for (const attribute of attributes.values()) {
        const value = attributeValue(attribute, jsonAt(user, attribute.name));
        if (value !== undefined) values[attribute.name] = value;
      }
      return values;
    },
    bodyOf: (changes) => {
      const body: Record<string, unknown> = {};
      for (const { name, after } of changes) {
        const attribute = attributes.get(name);
        if (attribute === undefined) throw new TypeError(`${name} is not an attribute of the connector`);
        const json = jsonOf(attribute, after);
        const [property, part] = name.split(".", 2);
        if (part === undefined) body[name] = json;
        else body[property!] = { ...(body[property!] as object | undefined), [part]: json };
      }
      return body;
    },
  };
}

function jsonOf(attribute: SchemaAttribute, value: AttributeValue | undefined): unknown {
  const values = valuesOf(value).map((one): unknown => {
    if (attribute.type === "dateTime" && isDateTime(one)) return new Date(dateTimeToMs(one)).toISOString();
    if (attribute.type === typeof one) return one;
    throw new TypeError(`${attribute.name} is of type ${attribute.type}, the value is not`);
  });
  if (attribute.multiValued) return values;
  if (values.length > 1) throw new TypeError(`${attribute.name} takes one value, ${values.length} flow`);
  return values[0] ?? null;
}

function attributeNamed(name: string, connector: string): SchemaAttribute {
  const known = userAttributes.get(name);
  if (known !== undefined) return known;
  if (directoryExtension.test(name)) return { name, type: "string", multiValued: false };
  const reason = refused.get(name);
  if (reason !== undefined) {
    throw new ConnectorError(
      "configuration",
      `Connector ${connector}: the attribute "${name}" of a Graph user cannot be selected: ${reason}.`,
    );
  }
  const suggestion = closest(name, userAttributes.keys());
  throw new ConnectorError(
    "configuration",
    `Connector ${connector}: a Graph user has no attribute "${name}".${
      suggestion === undefined ? "" : ` Did you mean "${suggestion}"?`
    }`,
  );
}

function jsonAt(user: GraphUser, name: string): unknown {
  const [property, part] = name.split(".", 2);
  const json = user[property!];
  if (part === undefined || json === null || json === undefined) return json;
  return (json as Record<string, unknown>)[part];
}

function attributeValue(attribute: SchemaAttribute, json: unknown): AttributeValue | undefined {
  if (json === null || json === undefined || json === "") return undefined;
  if (!attribute.multiValued) return singleValue(attribute, json);
  if (!Array.isArray(json)) throw wrongType(attribute, json);
  const values = json
    .filter((item) => item !== null && item !== "")
    .map((item) => singleValue(attribute, item));
  return values.length === 0 ? undefined : values;
}

function singleValue(attribute: SchemaAttribute, json: unknown): Value {
  switch (attribute.type) {
    case "boolean":
      if (typeof json === "boolean") return json;
      break;
    case "dateTime":
      if (typeof json === "string" && !Number.isNaN(Date.parse(json))) return valueFromJson({ $dt: json });
      break;
    default:
      if (typeof json === "string") return json;
      if (attribute.name === "identities") return identityText(json);
      if (directoryExtension.test(attribute.name) && typeof json !== "object") return JSON.stringify(json);
  }
  throw wrongType(attribute, json);
}

/** `signInType|issuer|issuerAssignedId`, such as `federated|ExternalAzureAD|`, so that a rule can look for its parts. */
function identityText(json: unknown): string {
  const { signInType, issuer, issuerAssignedId } = (json ?? {}) as Record<string, unknown>;
  return [signInType, issuer, issuerAssignedId]
    .map((part) => (typeof part === "string" ? part : ""))
    .join("|");
}

/** Without the value: it may be personal, and the message goes into the run history. */
function wrongType(attribute: SchemaAttribute, json: unknown): TypeError {
  const expected = attribute.multiValued ? `a list of ${attribute.type}` : attribute.type;
  const given = Array.isArray(json) ? "a list" : typeof json === "object" ? "a structure" : typeof json;
  return new TypeError(`Graph gave ${given} for "${attribute.name}", expected ${expected}.`);
}
