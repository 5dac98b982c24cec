/** Look-ups over the schema tables: attributes by any spelling, inherited class definitions, value checks. */
import { createHash } from "node:crypto";
import { parseGuid } from "./identifiers.ts";
import {
  type AttributeDefinition,
  attributeTable,
  type ClassDefinition,
  classTable,
  syntaxes,
} from "./schemaTable.ts";

/** An attribute with both of its spellings; `key` is the lower-case name under which values are stored. */
export interface SchemaAttribute extends AttributeDefinition {
  readonly name: string;
  readonly key: string;
}

export interface SchemaClass extends ClassDefinition {
  readonly name: string;
  /** From `top` down to the class itself: the values of objectClass. */
  readonly chain: readonly string[];
  /** Keys of the attributes that an object of the class may have, inherited ones included. */
  readonly allowed: ReadonlySet<string>;
  readonly allSuperiors: ReadonlySet<string>;
}

export const attributes: readonly SchemaAttribute[] = Object.entries(attributeTable).map(
  ([name, definition]) => ({
    ...definition,
    name,
    key: name.toLowerCase(),
  }),
);

const attributesByKey = new Map(attributes.map((attribute) => [attribute.key, attribute]));
const attributesByOid = new Map(attributes.map((attribute) => [attribute.oid, attribute]));

/** Finds an attribute by its name in any case, or by its OID. */
export function attribute(name: string): SchemaAttribute | undefined {
  return attributesByKey.get(name.toLowerCase()) ?? attributesByOid.get(name);
}

/** The back link of a forward link, and the other way round. */
const attributesByLinkId = new Map(
  attributes.flatMap((entry) => (entry.linkId === undefined ? [] : [[entry.linkId, entry] as const])),
);
export function forwardLinkOf(backLink: SchemaAttribute): SchemaAttribute | undefined {
  return attributesByLinkId.get(backLink.linkId! - 1);
}
export function isForwardLink(attribute: SchemaAttribute): boolean {
  return attribute.linkId !== undefined && attribute.linkId % 2 === 0;
}
export function isBackLink(attribute: SchemaAttribute): boolean {
  return attribute.linkId !== undefined && attribute.linkId % 2 === 1;
}

function resolveClass(name: string): SchemaClass {
  const definition = classTable[name]!;
  const parent = name === "top" ? undefined : resolveClass(definition.subClassOf);
  const own = [...definition.must, ...definition.may].map((attribute) => attribute.toLowerCase());
  return {
    ...definition,
    name,
    chain: [...(parent?.chain ?? []), name],
    allowed: new Set([...(parent?.allowed ?? []), ...own]),
    allSuperiors: new Set([...(parent?.allSuperiors ?? []), ...definition.superiors]),
  };
}

export const classes: readonly SchemaClass[] = Object.keys(classTable).map(resolveClass);
const classesByKey = new Map(classes.map((entry) => [entry.name.toLowerCase(), entry]));
const classesByOid = new Map(classes.map((entry) => [entry.oid, entry]));

export function schemaClass(name: string): SchemaClass | undefined {
  return classesByKey.get(name.toLowerCase()) ?? classesByOid.get(name);
}

const int32 = (text: string) => /^-?\d{1,10}$/.test(text) && Number(text) === (Number(text) | 0);
const int64 = (text: string) => /^-?\d{1,19}$/.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text);

/** Whether a text is a value of the syntax; DN syntaxes are checked where references are resolved. */
export function isValidText(attribute: SchemaAttribute, text: string): boolean {
  switch (attribute.syntax) {
    case "integer":
    case "enumeration":
      return int32(text);
    case "largeInteger":
      return int64(text);
    case "boolean":
      return text === "TRUE" || text === "FALSE";
    case "generalizedTime":
      return /^\d{14}\.0Z$/.test(text);
    case "numeric":
      return /^[\d ]+$/.test(text);
    default:
      return true;
  }
}

/** Whether a value's length is within the attribute's range; integers are compared by value. */
export function isInRange(attribute: SchemaAttribute, value: string | Uint8Array): boolean {
  const integer = attribute.syntax === "integer" || attribute.syntax === "enumeration";
  const measure = integer && typeof value === "string" ? Number(value) : value.length;
  return (
    measure >= (attribute.rangeLower ?? Number.NEGATIVE_INFINITY) &&
    measure <= (attribute.rangeUpper ?? Infinity)
  );
}

/** The attributes of the schema's own objects, `attributeSchema` and `classSchema`, by key. */
export function schemaObjects(): { name: string; objectClass: string; values: Record<string, string[]> }[] {
  const flag = (value: boolean) => (value ? "TRUE" : "FALSE");
  return [
    ...attributes.map((entry) => ({
      name: entry.name,
      objectClass: "attributeSchema",
      values: {
        ldapdisplayname: [entry.name],
        attributeid: [entry.oid],
        attributesyntax: [syntaxes[entry.syntax].attributeSyntax],
        omsyntax: [String(syntaxes[entry.syntax].oMSyntax)],
        issinglevalued: [flag(entry.single === true)],
        systemonly: [flag(entry.systemOnly === true)],
        systemflags: [String((entry.notReplicated ? 1 : 0) | (entry.constructed ? 4 : 0) | 16)],
        ...(entry.rangeLower === undefined ? {} : { rangelower: [String(entry.rangeLower)] }),
        ...(entry.rangeUpper === undefined ? {} : { rangeupper: [String(entry.rangeUpper)] }),
        ...(entry.linkId === undefined ? {} : { linkid: [String(entry.linkId)] }),
      },
    })),
    ...classes.map((entry) => ({
      name: entry.cn,
      objectClass: "classSchema",
      values: {
        ldapdisplayname: [entry.name],
        governsid: [entry.oid],
        subclassof: [entry.subClassOf],
        objectclasscategory: [{ "eighty-eight": "0", structural: "1", abstract: "2" }[entry.kind]],
        rdnattid: [entry.rdn],
        ...(entry.must.length === 0 ? {} : { systemmustcontain: [...entry.must] }),
        ...(entry.may.length === 0 ? {} : { systemmaycontain: [...entry.may] }),
        ...(entry.superiors.length === 0 ? {} : { systemposssuperiors: [...entry.superiors] }),
      },
    })),
  ];
}

/** A GUID that is the same at every start, for objects that are made anew from the tables. */
export function derivedGuid(name: string): string {
  const hex = createHash("sha256").update(name).digest("hex").slice(0, 32);
  return parseGuid(hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"))!;
}
