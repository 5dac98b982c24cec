/**
 * What a delta import would miss, because Active Directory does not mark it as changed: uSNChanged moves with an
 * object's own attributes only. [MS-ADTS] 3.1.1.1.9
 *
 *   an OU is renamed or moved         the DNs of all that is below it
 *   an object is renamed or moved     the values of those that refer to it (member, manager)
 *   an object is deleted              likewise: they lose the value
 */
import { isUnder } from "../../core/values.ts";
import {
  type AdClient,
  all,
  any,
  atLeast,
  atMost,
  domainScope,
  equals,
  type Filter,
  showDeleted,
} from "./adClient.ts";
import { refusalsAsFailures } from "./domainController.ts";
import { anchorOf, readAttributes, typesFilter } from "./entries.ts";
import type { LdapEntry } from "./ldapMessages.ts";
import type { AdObjectType, AdSchema } from "./schema.ts";

export interface UnmarkedScope {
  readonly client: Pick<AdClient, "search">;
  readonly schema: AdSchema;
  readonly baseDn: string;
  readonly containers: readonly string[];
  readonly pageSize: number;
}

/** The numbers that a delta import is about, both included. */
export interface Stretch {
  readonly low: bigint;
  readonly high: bigint;
  /** Deletions cannot be seen, so there may have been any. */
  readonly deletionsUnseen: boolean;
}

/** Selected attributes that hold references of the object's own. */
function referenceAttributes(schema: AdSchema): string[] {
  return [...new Set([...schema.values()].flatMap(referencesOf))];
}

function referencesOf({ attributes }: AdObjectType): string[] {
  return [...attributes.values()]
    .filter(({ type, readOnly }) => type === "reference" && readOnly !== true)
    .map(({ name }) => name);
}

/**
 * The types whose objects may have lost a reference. Which of their objects have is not to be found out: an object that
 * has lost its last one looks like those that never had any.
 */
export function typesWithReferences(schema: AdSchema): AdSchema {
  return new Map([...schema].filter(([, type]) => referencesOf(type).length > 0));
}

/** So many names in one filter. */
const namesAtOnce = 50;

/** Whoever refers to one of `dns`, wherever in the scope. */
export async function* referrersOf(
  scope: UnmarkedScope,
  dns: readonly string[],
): AsyncGenerator<readonly LdapEntry[]> {
  const names = referenceAttributes(scope.schema);
  if (names.length === 0) return;
  for (let at = 0; at < dns.length; at += namesAtOnce) {
    const some = dns.slice(at, at + namesAtOnce);
    const refers = any(...some.flatMap((dn) => names.map((name) => equals(name, dn))));
    for (const container of scope.containers) {
      yield* pages(scope, container, typesFilter(scope.schema, refers), readAttributes(scope.schema));
    }
  }
}

/**
 * Anchors of the containers that were changed, perhaps renamed. What holds a whole scope is left out: had it been
 * renamed, the scope would not have been found.
 */
export async function changedContainers(scope: UnmarkedScope, stretch: Stretch): Promise<string[]> {
  const isContainer = any(equals("objectClass", "organizationalUnit"), equals("objectClass", "container"));
  const found: string[] = [];
  const search = pages(scope, scope.baseDn, all(isContainer, within(stretch)), ["objectClass", "objectGUID"]);
  for await (const entries of search) {
    for (const entry of entries) {
      const classes = (entry.attributes.get("objectclass") ?? []).map(String);
      const anchor = anchorOf(entry);
      const holdsScope = scope.containers.some((container) => isUnder(container, entry.dn));
      if (anchor === undefined || holdsScope) continue;
      if (classes.includes("organizationalUnit") || classes.includes("container")) found.push(anchor);
    }
  }
  return found.sort();
}

/** Whether objects in scope may have lost references, because what they referred to was deleted. */
export async function referencesMayBeLost(scope: UnmarkedScope, stretch: Stretch): Promise<boolean> {
  if (referenceAttributes(scope.schema).length === 0) return false;
  if (stretch.deletionsUnseen) return true;
  const search = scope.client.search(scope.baseDn, {
    filter: all(equals("isDeleted", "TRUE"), within(stretch)),
    attributes: ["1.1"],
    controls: [domainScope, ...showDeleted],
    pageSize: 1,
  });
  const { value } = await refusalsAsFailures("Looking for deleted objects", () => search.next());
  await search.return(undefined);
  return (value?.entries.length ?? 0) > 0;
}

async function* pages(
  scope: UnmarkedScope,
  base: string,
  filter: Filter,
  attributes: readonly string[],
): AsyncGenerator<readonly LdapEntry[]> {
  const options = { filter, attributes, controls: [domainScope], pageSize: scope.pageSize };
  const search = scope.client.search(base, options);
  for (;;) {
    const { value, done } = await refusalsAsFailures(`Listing ${base}`, () => search.next());
    if (done === true) return;
    if (value.entries.length > 0) yield value.entries;
  }
}

function within({ low, high }: Stretch): Filter {
  return all(atLeast("uSNChanged", low), atMost("uSNChanged", high));
}
