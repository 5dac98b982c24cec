import type { AttributeType, Syntax } from "../../core/values.ts";
import { type ConnectorDefinition, ConnectorError, type SchemaAttribute } from "../../ports/connector.ts";
import { type AdClient, all, any, domainScope, equals, type Filter } from "./adClient.ts";
import type { LdapEntry } from "./ldapMessages.ts";

/** An attribute with what only this connector needs. */
export interface AdAttribute extends SchemaAttribute {
  /** Most characters, bytes or the greatest number; undefined without a limit. */
  readonly rangeUpper?: number;
  /** A time of the old two-digit form. */
  readonly utcTime: boolean;
}

export interface AdObjectType {
  readonly name: string;
  /** By lower-case name. */
  readonly attributes: ReadonlyMap<string, AdAttribute>;
  /** The attribute of the RDN: `cn` for a user. It changes by a rename only. */
  readonly rdnAttribute: string;
}

/** By the name of the type. */
export type AdSchema = ReadonlyMap<string, AdObjectType>;

/** Attribute syntaxes. [MS-ADTS] 3.1.1.2.2.2 */
const syntaxes: Readonly<Record<string, { readonly type: AttributeType; readonly syntax?: Syntax }>> = {
  "2.5.5.1": { type: "reference", syntax: "dn" },
  "2.5.5.2": { type: "string" }, // object identifier
  "2.5.5.3": { type: "string", syntax: "exact" },
  "2.5.5.4": { type: "string" },
  "2.5.5.5": { type: "string", syntax: "exact" }, // IA5 and printable
  "2.5.5.6": { type: "string" }, // numeric
  "2.5.5.7": { type: "string" }, // DN with binary
  "2.5.5.8": { type: "boolean" },
  "2.5.5.9": { type: "integer" }, // integer and enumeration
  "2.5.5.10": { type: "binary" },
  "2.5.5.11": { type: "dateTime" },
  "2.5.5.12": { type: "string" }, // Unicode
  "2.5.5.13": { type: "string" }, // presentation address
  "2.5.5.14": { type: "string" }, // DN with string
  "2.5.5.15": { type: "binary" }, // security descriptor
  "2.5.5.16": { type: "integer" }, // 64 bits
  "2.5.5.17": { type: "binary" }, // SID
};
const utcTimeSyntax = "23";
/** systemFlags: the value is computed by the directory. [MS-ADTS] 2.2.10 */
const constructed = 0x4;
/** Passwords: written, never read. [MS-ADTS] 3.1.1.3.1.5 */
export const secretAttributes: ReadonlySet<string> = new Set(["unicodepwd", "userpassword"]);

/** Takes the orders 0 (change it at the next logon) and -1 (it was set now); the directory shows a time. */
const orderNames: ReadonlySet<string> = new Set(["pwdlastset"]);

/**
 * Reads the configured types and attributes in the directory's own schema.
 * @throws ConnectorError "configuration" for a type or attribute that the directory does not have.
 */
export async function readSchema(
  client: AdClient,
  schemaNamingContext: string,
  definition: ConnectorDefinition,
): Promise<AdSchema> {
  const names = [...new Set(definition.objectTypes.flatMap((type) => [...type.attributes]))];
  const classes = await named(
    client,
    schemaNamingContext,
    "classSchema",
    ["rDNAttID"],
    [...definition.objectTypes.map(({ name }) => name)],
  );
  const attributes = await named(client, schemaNamingContext, "attributeSchema", attributeFacts, names);
  const schema = new Map<string, AdObjectType>();
  for (const type of definition.objectTypes) {
    const schemaClass = classes.get(type.name.toLowerCase());
    if (schemaClass === undefined) {
      throw await unknown(
        client,
        schemaNamingContext,
        definition.name,
        "object type",
        "classSchema",
        type.name,
      );
    }
    const rdnAttribute = (firstText(schemaClass, "rDNAttID") ?? "cn").toLowerCase();
    const known = new Map<string, AdAttribute>();
    for (const name of type.attributes) {
      const entry = attributes.get(name.toLowerCase());
      if (entry === undefined) {
        throw await unknown(
          client,
          schemaNamingContext,
          definition.name,
          "attribute",
          "attributeSchema",
          name,
        );
      }
      known.set(name.toLowerCase(), toAttribute(name, entry, rdnAttribute));
    }
    schema.set(type.name, { name: type.name, attributes: known, rdnAttribute });
  }
  return schema;
}

const attributeFacts = [
  "attributeSyntax",
  "oMSyntax",
  "isSingleValued",
  "systemOnly",
  "systemFlags",
  "linkID",
  "rangeUpper",
];

function toAttribute(name: string, entry: LdapEntry, rdnAttribute: string): AdAttribute {
  const lower = name.toLowerCase();
  const oid = firstText(entry, "attributeSyntax") ?? "";
  const { type, syntax } = syntaxes[oid] ?? { type: "binary" };
  const backLink = Number(firstText(entry, "linkID") ?? 0) % 2 === 1;
  const readOnly =
    firstText(entry, "systemOnly") === "TRUE" ||
    (Number(firstText(entry, "systemFlags") ?? 0) & constructed) !== 0 ||
    backLink ||
    [rdnAttribute, "name", "distinguishedname"].includes(lower);
  const writeOnly = secretAttributes.has(lower);
  const rangeUpper = firstText(entry, "rangeUpper");
  return {
    name,
    // A password flows as text; the connector quotes and encodes it.
    type: writeOnly ? "string" : type,
    multiValued: firstText(entry, "isSingleValued") !== "TRUE" && !writeOnly,
    utcTime: type === "dateTime" && firstText(entry, "oMSyntax") === utcTimeSyntax,
    ...(syntax === undefined ? {} : { syntax }),
    ...(readOnly ? { readOnly } : {}),
    ...(writeOnly ? { writeOnly } : {}),
    ...(orderNames.has(lower) ? { neverConfirmed: true } : {}),
    ...(rangeUpper === undefined ? {} : { rangeUpper: Number(rangeUpper) }),
  };
}

/** Schema entries by lower-case lDAPDisplayName. */
async function named(
  client: AdClient,
  schemaNamingContext: string,
  kind: "attributeSchema" | "classSchema",
  facts: readonly string[],
  names: readonly string[] | undefined,
): Promise<ReadonlyMap<string, LdapEntry>> {
  const found = new Map<string, LdapEntry>();
  if (names?.length === 0) return found;
  const filters: Filter[] = [equals("objectClass", kind)];
  if (names !== undefined) filters.push(any(...names.map((name) => equals("lDAPDisplayName", name))));
  const search = client.search(schemaNamingContext, {
    scope: "one",
    filter: all(...filters),
    attributes: ["lDAPDisplayName", ...facts],
    controls: [domainScope],
  });
  for await (const { entries } of search) {
    for (const entry of entries) found.set((firstText(entry, "lDAPDisplayName") ?? "").toLowerCase(), entry);
  }
  return found;
}

async function unknown(
  client: AdClient,
  schemaNamingContext: string,
  connector: string,
  what: string,
  kind: "attributeSchema" | "classSchema",
  name: string,
): Promise<ConnectorError> {
  const entries = await named(client, schemaNamingContext, kind, [], undefined);
  const known = [...entries.values()].map((entry) => firstText(entry, "lDAPDisplayName") ?? "");
  const near = known
    .map((candidate) => ({ candidate, distance: editDistance(candidate.toLowerCase(), name.toLowerCase()) }))
    .filter(({ distance }) => distance <= Math.max(2, Math.floor(name.length / 3)))
    .sort((a, b) => a.distance - b.distance || a.candidate.localeCompare(b.candidate))
    .slice(0, 3)
    .map(({ candidate }) => candidate);
  const suggestion = near.length === 0 ? "" : ` Did you mean ${near.join(", ")}?`;
  return new ConnectorError(
    "configuration",
    `Connector ${connector}: the directory's schema has no ${what} "${name}".${suggestion}`,
  );
}

/** Levenshtein distance: how many characters to insert, delete or replace. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The first value of an attribute as text. */
export function firstText(entry: LdapEntry, name: string): string | undefined {
  return entry.attributes.get(name.toLowerCase())?.[0]?.toString("utf8");
}
