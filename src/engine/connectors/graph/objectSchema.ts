/** The selected attributes of the users or groups of one connector: how Graph's JSON becomes values, and values JSON. */

import { closest } from "../../core/expression/problems.ts";
import type { AttributeChange } from "../../core/model.ts";
import type { Attributes, AttributeType, AttributeValue, Value } from "../../core/values.ts";
import { dateTimeToMs, isDateTime, reference, valueFromJson, valuesOf } from "../../core/values.ts";
import type { ObjectTypeSchema, SchemaAttribute } from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import type { GraphObject } from "./filter.ts";

/** What Graph's metadata says of one type, as far as it can be imported. */
export interface GraphTypeSchema {
  readonly name: "user" | "group";
  readonly attributes: ReadonlyMap<string, SchemaAttribute>;
  /** Known to Graph, but not importable here; the reason is the message. */
  readonly refused: ReadonlyMap<string, string>;
}

export function words(text: string): string[] {
  return text.trim().split(/\s+/);
}

/** Attributes by name, from lists of names by type. */
export function attributeTable(
  singleValued: Partial<Record<AttributeType, readonly string[]>>,
  multiValued: Partial<Record<AttributeType, readonly string[]>>,
  readOnly: ReadonlySet<string>,
): ReadonlyMap<string, SchemaAttribute> {
  const attributes = [singleValued, multiValued].flatMap((table, index) =>
    Object.entries(table).flatMap(([type, names]) =>
      names.map(
        (name): SchemaAttribute => ({
          name,
          type: type as AttributeType,
          multiValued: index === 1,
          ...(readOnly.has(name) ? { readOnly: true } : {}),
        }),
      ),
    ),
  );
  return new Map(attributes.map((attribute) => [attribute.name, attribute]));
}

/**
 * A directory extension (`extension_<application id>_<name>`). The metadata does not know it, so it is read as
 * text; a boolean or integer extension as its JSON text.
 */
const directoryExtension = /^extension_[0-9a-f]{32}_\w+$/;

export interface SelectedAttributes {
  readonly schema: ObjectTypeSchema;
  /** Graph properties for `$select`, sorted, `id` among them; without references and those that only a filter needs. */
  readonly properties: readonly string[];
  /** Relationships to other objects: they are no properties, and are read otherwise. */
  readonly references: readonly SchemaAttribute[];
  /**
   * Null, empty text and empty lists are absent; blanks stay as they are. References come in the order of their ids, so
   * that the same members are the same image.
   * @throws TypeError naming the property whose value is not of its type.
   */
  attributesOf(object: GraphObject): Attributes;
  /**
   * The body of a request that makes these changes; no value clears.
   * @throws TypeError without the value, for an attribute that is not selected and a value that is not of its type.
   */
  bodyOf(changes: readonly Pick<AttributeChange, "name" | "after">[]): Record<string, unknown>;
}

/** @throws ConnectorError "configuration" for an attribute that cannot be imported. */
export function selectAttributes(
  connector: string,
  names: readonly string[],
  type: GraphTypeSchema,
): SelectedAttributes {
  const attributes = new Map(names.map((name) => [name, attributeNamed(name, connector, type)]));
  const references = [...attributes.values()].filter((attribute) => attribute.type === "reference");
  const plain = [...attributes.values()].filter((attribute) => attribute.type !== "reference");
  const paths = [...attributes.values()].map((attribute) => {
    const [property, part] = attribute.name.split(".", 2);
    return { attribute, property: property!, part };
  });
  const properties = new Set(["id", ...plain.map(({ name }) => name.split(".", 1)[0]!)]);
  return {
    schema: { name: type.name, attributes },
    properties: [...properties].sort(),
    references,
    attributesOf: (object) => {
      const values: Record<string, AttributeValue> = {};
      for (const { attribute, property, part } of paths) {
        const value = attributeValue(attribute, jsonAt(object, property, part));
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

function attributeNamed(name: string, connector: string, type: GraphTypeSchema): SchemaAttribute {
  const known = type.attributes.get(name);
  if (known !== undefined) return known;
  if (directoryExtension.test(name)) return { name, type: "string", multiValued: false };
  const reason = type.refused.get(name);
  if (reason !== undefined) {
    throw new ConnectorError(
      "configuration",
      `Connector ${connector}: the attribute "${name}" of a Graph ${type.name} cannot be selected: ${reason}.`,
    );
  }
  const suggestion = closest(name, type.attributes.keys());
  throw new ConnectorError(
    "configuration",
    `Connector ${connector}: a Graph ${type.name} has no attribute "${name}".${
      suggestion === undefined ? "" : ` Did you mean "${suggestion}"?`
    }`,
  );
}

function jsonAt(object: GraphObject, property: string, part: string | undefined): unknown {
  const json = object[property];
  if (part === undefined || json === null || json === undefined) return json;
  return (json as Record<string, unknown>)[part];
}

function attributeValue(attribute: SchemaAttribute, json: unknown): AttributeValue | undefined {
  if (json === null || json === undefined || json === "") return undefined;
  if (!attribute.multiValued) return singleValue(attribute, json);
  if (!Array.isArray(json)) throw wrongType(attribute, json);
  if (attribute.type === "reference") {
    const ids = new Set(json.map((item) => idOf(attribute, item)));
    return ids.size === 0 ? undefined : [...ids].sort().map(reference);
  }
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
    case "reference":
      return reference(idOf(attribute, json));
    default:
      if (typeof json === "string") return json;
      if (attribute.name === "identities") return identityText(json);
      if (directoryExtension.test(attribute.name) && typeof json !== "object") return JSON.stringify(json);
  }
  throw wrongType(attribute, json);
}

/** The other object, shown by its id among others, or by that alone. */
function idOf(attribute: SchemaAttribute, json: unknown): string {
  const id = typeof json === "string" ? json : (json as { readonly id?: unknown } | null)?.id;
  if (typeof id !== "string" || id === "") throw wrongType(attribute, json);
  return id;
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
