import type { Image } from "../../core/model.ts";
import { type AttributeValue, isUnder } from "../../core/values.ts";
import type { ImportEntry } from "../../ports/connector.ts";
import { all, any, equals, type Filter } from "./adClient.ts";
import type { LdapEntry } from "./ldapMessages.ts";
import { type AdObjectType, type AdSchema, firstText } from "./schema.ts";
import { decodeAttribute, guidText } from "./values.ts";

/** What every read asks for beside the selected attributes. */
const alwaysRead = ["objectClass", "objectGUID", "isDeleted"];

/** The attributes to ask for, write-only ones left out: they never come back. */
export function readAttributes(schema: AdSchema): string[] {
  const names = [...schema.values()].flatMap((type) =>
    [...type.attributes.values()].filter(({ writeOnly }) => writeOnly !== true).map(({ name }) => name),
  );
  const lower = new Set(alwaysRead.map((name) => name.toLowerCase()));
  return [...alwaysRead, ...new Set(names.filter((name) => !lower.has(name.toLowerCase())))];
}

/** Objects of the configured types and of types derived from them; `objectTypeOf` sorts those out. */
export function typesFilter(schema: AdSchema, ...further: Filter[]): Filter {
  return all(any(...[...schema.keys()].map((name) => equals("objectClass", name))), ...further);
}

/**
 * The configured type of an entry; undefined when it has none. The last value of objectClass is the most specific
 * class, so a computer is not taken for the user that it derives from. [MS-ADTS] 3.1.1.1.4
 */
export function objectTypeOf(schema: AdSchema, entry: LdapEntry): AdObjectType | undefined {
  const structural = entry.attributes.get("objectclass")?.at(-1)?.toString("utf8").toLowerCase();
  for (const type of schema.values()) if (type.name.toLowerCase() === structural) return type;
  return undefined;
}

export function anchorOf(entry: LdapEntry): string | undefined {
  const guid = entry.attributes.get("objectguid")?.[0];
  return guid?.length === 16 ? guidText(guid) : undefined;
}

export const isTombstone = (entry: LdapEntry) => firstText(entry, "isDeleted") === "TRUE";

export function isInScope(dn: string, containers: readonly string[]): boolean {
  return containers.some((container) => isUnder(dn, container));
}

/** @throws TypeError when a value does not fit the schema. */
export function toImage(type: AdObjectType, entry: LdapEntry): Image {
  const attributes: Record<string, AttributeValue> = {};
  for (const [key, attribute] of type.attributes) {
    const value = decodeAttribute(attribute, entry.attributes.get(key) ?? []);
    if (value !== undefined) attributes[attribute.name] = value;
  }
  return { objectType: type.name, dn: entry.dn, attributes };
}

/** An import entry for a living object in scope; undefined for an object of another type. */
export function toImportEntry(schema: AdSchema, entry: LdapEntry): ImportEntry | undefined {
  const type = objectTypeOf(schema, entry);
  const anchor = anchorOf(entry);
  if (anchor === undefined || !entry.attributes.has("objectclass")) {
    return {
      kind: "error",
      dn: entry.dn,
      code: "missing-anchor-component",
      message: `${entry.dn}: objectGUID or objectClass cannot be read. Grant the account of AD_BIND_DN the right to read all properties there.`,
    };
  }
  if (type === undefined) return undefined;
  try {
    return { kind: "object", anchor, image: toImage(type, entry) };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return {
      kind: "error",
      anchor,
      dn: entry.dn,
      code: "invalid-attribute-value",
      message: `${entry.dn}: ${error.message}. Correct the value in the directory, or leave the attribute out of the connector.`,
    };
  }
}
