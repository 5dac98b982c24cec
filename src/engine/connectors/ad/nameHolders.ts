/**
 * Who has names that must be nobody else's. A domain controller refuses an account name that its domain has, and, since
 * Windows Server 2012 R2, a user principal name that it finds in the forest ([MS-ADTS] 3.1.1.5.1.3); an older one, or
 * one without a global catalog at hand, takes the duplicate. So they are looked for before the write, in the forest
 * where the connector knows a global catalog.
 */
import { dnKey, isUnder, valuesOf } from "../../core/values.ts";
import type { ExportChange } from "../../ports/connector.ts";
import { type AdClient, any, domainScope, equals, type Filter } from "./adClient.ts";
import { refusalsAsFailures } from "./domainController.ts";
import type { LdapEntry } from "./ldapMessages.ts";
import { firstText } from "./schema.ts";

export const uniqueNames: readonly string[] = ["sAMAccountName", "userPrincipalName"];

export interface NameScope {
  readonly client: Pick<AdClient, "search">;
  /** Of the forest, when the connector has one. */
  readonly globalCatalog: Pick<AdClient, "search"> | undefined;
  readonly baseDn: string;
}

interface Name {
  readonly name: string;
  readonly value: string;
}

/** The unique names that a change would give. */
export function namesOf({ attributes }: Pick<ExportChange, "attributes">): Name[] {
  return uniqueNames.flatMap((name) => {
    const found = attributes.find((one) => one.name.toLowerCase() === name.toLowerCase());
    const [value] = valuesOf(found?.after);
    return typeof value === "string" && value !== "" ? [{ name, value }] : [];
  });
}

/** So many names in one filter. */
const namesAtOnce = 128;

/** Which of the changes want a name that somebody has, by their ids: one look for many of them. */
export async function changesThatMeetHolders(
  scope: NameScope,
  changes: readonly ExportChange[],
): Promise<ReadonlySet<string>> {
  const wanted = changes.flatMap((change) => namesOf(change).map((name) => ({ ...name, change })));
  const parts = Array.from({ length: Math.ceil(wanted.length / namesAtOnce) }, (_, part) =>
    wanted.slice(part * namesAtOnce, (part + 1) * namesAtOnce),
  );
  const found = parts.map((names) =>
    refusalsAsFailures("Looking for holders of names", () => holdersOf(scope, names)),
  );
  const holders = (await Promise.all(found)).flat();
  const held = new Map<string, string[]>();
  for (const holder of holders) {
    const anchor = holder.attributes.get("objectguid")?.[0]?.toString("hex") ?? "";
    for (const name of uniqueNames) {
      const key = nameKey({ name, value: firstText(holder, name) ?? "" });
      held.set(key, [...(held.get(key) ?? []), anchor]);
    }
  }
  return new Set(wanted.filter((name) => held.has(nameKey(name))).map(({ change }) => change.id));
}

/** Objects that have one of `names`; `further` is looked for in the domain alone, and `attributes` are read. */
export async function holdersOf(
  { client, globalCatalog, baseDn }: NameScope,
  names: readonly Name[],
  further: readonly Filter[] = [],
  attributes: readonly string[] = [],
): Promise<readonly LdapEntry[]> {
  const read = ["objectClass", "objectGUID", ...uniqueNames, ...attributes];
  const wanted = names.map(({ name, value }) => equals(name, value));
  const found = new Map<string, LdapEntry>();
  const here = client.search(baseDn, {
    filter: any(...wanted, ...further),
    attributes: read,
    controls: [domainScope],
  });
  for await (const { entries } of here) for (const entry of entries) found.set(dnKey(entry.dn), entry);
  if (globalCatalog === undefined || wanted.length === 0) return [...found.values()];
  // Of its own domain the domain controller knows more, and sooner.
  for await (const { entries } of globalCatalog.search("", { filter: any(...wanted), attributes: read })) {
    for (const entry of entries) if (!isUnder(entry.dn, baseDn)) found.set(dnKey(entry.dn), entry);
  }
  return [...found.values()];
}

const nameKey = ({ name, value }: Name) => `${name}:${value.toLowerCase()}`;
