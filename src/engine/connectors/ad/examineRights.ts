/** Proof of the rights that a connector needs, and that its account has none elsewhere. Reads only. */
import { isUnder } from "../../core/values.ts";
import type { Finding } from "../../ports/connector.ts";
import {
  type AccessControlEntry,
  accessControlEntries,
  isGranted,
  powers,
  resetPassword,
  right,
} from "./accessControl.ts";
import { type AdClient, all, any, domainScope, equals, withPermissions } from "./adClient.ts";
import { readDomainController } from "./domainController.ts";
import { objectTypeOf, typesFilter } from "./entries.ts";
import { isAccount } from "./exportScope.ts";
import { ok, told } from "./findings.ts";
import type { LdapEntry } from "./ldapMessages.ts";
import { type AdObjectType, type AdSchema, firstText } from "./schema.ts";
import { guidText } from "./values.ts";

/** Who the account is to the directory: hex of the SIDs of itself and of its groups, itself first. */
export type Principal = readonly string[];

/** Empty where the directory does not tell. [MS-ADTS] 3.1.1.3.2, tokenGroups */
export async function readPrincipal(client: AdClient): Promise<Principal> {
  const root = await client.read("", ["tokenGroups"]);
  return (root?.attributes.get("tokengroups") ?? []).map((sid) => sid.toString("hex"));
}

export const effectiveRights = [
  "allowedChildClassesEffective",
  "allowedAttributesEffective",
  "sDRightsEffective",
];

export const listed = (entry: LdapEntry | undefined, name: string) =>
  new Set((entry?.attributes.get(name.toLowerCase()) ?? []).map((value) => String(value).toLowerCase()));

/** Whoever has them may give himself any right. [MS-ADTS] 3.1.1.4.5.4 */
const mayChangeSecurity = (entry: LdapEntry) => Number(firstText(entry, "sDRightsEffective") ?? 0) !== 0;

/** Undefined where the account may not read them, or the directory has none. */
function permissionsOf(entry: LdapEntry | undefined): AccessControlEntry[] | undefined {
  const descriptor = entry?.attributes.get("ntsecuritydescriptor")?.[0];
  return descriptor === undefined ? undefined : accessControlEntries(descriptor);
}

// ---- on an OU in scope -----------------------------------------------------------------------------------------

/**
 * The computed attributes say what this very account may create, and write of an object that is there ([MS-ADTS]
 * 3.1.1.4.5.6 and following). The rest stands in the OU's permissions.
 */
export function examineRights(
  client: AdClient,
  schema: AdSchema,
  container: string,
  principal: Principal,
): Promise<Finding> {
  const what = `rights on ${container}`;
  return told(what, async () => {
    const entry = await client.read(container, [...effectiveRights, "nTSecurityDescriptor"], {
      controls: [withPermissions],
    });
    if (entry === undefined || firstText(entry, "sDRightsEffective") === undefined) {
      return { what, status: "warning", message: "This directory does not tell what an account may do." };
    }
    const permissions = principal.length === 0 ? undefined : permissionsOf(entry);
    const proof =
      permissions && new PermissionProof(permissions, principal, await readIdentifiers(client, schema));
    const types = [...schema.values()];
    const creatable = listed(entry, "allowedChildClassesEffective");
    const missing = types.flatMap((type) => [
      ...(creatable.has(type.name.toLowerCase()) ? [] : [`create ${type.name}`]),
      ...(proof?.missing(type) ?? []),
    ]);
    if (missing.length > 0) {
      const message = `The account may not ${missing.join(", ")} there.`;
      const remedy = `Run infra/ad/Grant-VestibuleRights.ps1 -OrganizationalUnit "${container}". A connector that only imports needs no rights.`;
      return { what, status: "failed", message, remedy };
    }
    const present = await firstOfEach(client, schema, container);
    const names = types.map(({ name }) => name).join(", ");
    const notWritable = types.flatMap(
      (type) => unwritable(type, present.get(type.name)) ?? proof?.unwritable(type) ?? [],
    );
    if (notWritable.length > 0) {
      const message = `The account creates ${names}, and may not write ${[...new Set(notWritable)].join(", ")} of those that are there.`;
      const remedy =
        "If a rule flows to one of them, grant it: -Attribute of infra/ad/Grant-VestibuleRights.ps1.";
      return { what, status: "warning", message, remedy };
    }
    if (mayChangeSecurity(entry)) {
      const message = "The account may change the permissions of the OU, which is more than it needs.";
      const remedy = "Take WRITE_DAC, WRITE_OWNER and full control from it.";
      return { what, status: "warning", message, remedy };
    }
    const passwords = types.some(isAccount) ? ", and resets their passwords" : "";
    if (proof !== undefined) {
      return ok(what, `The account creates and deletes ${names} there, writes their attributes${passwords}.`);
    }
    const message = `The account creates ${names} there. It may not read the permissions of the OU, so whether it deletes them${passwords === "" ? "" : " and resets their passwords"} shows when it does.`;
    const remedy = "Let it read the permissions of the OU, as every authenticated user may by default.";
    return { what, status: "warning", message, remedy };
  });
}

/** What names a class, and an attribute and its property set, in permissions. */
interface Identifiers {
  readonly classes: ReadonlyMap<string, string>;
  readonly attributes: ReadonlyMap<string, readonly string[]>;
}

async function readIdentifiers(client: AdClient, schema: AdSchema): Promise<Identifiers> {
  const { schemaNamingContext } = await readDomainController(client);
  const types = [...schema.values()];
  const names = new Set(types.flatMap(({ name, attributes }) => [name, ...attributes.keys()]));
  const search = client.search(schemaNamingContext, {
    scope: "one",
    filter: any(...[...names].map((name) => equals("lDAPDisplayName", name))),
    attributes: ["lDAPDisplayName", "objectClass", "schemaIDGUID", "attributeSecurityGUID"],
    controls: [domainScope],
  });
  const classes = new Map<string, string>();
  const attributes = new Map<string, readonly string[]>();
  for await (const { entries } of search) {
    for (const entry of entries) {
      const name = (firstText(entry, "lDAPDisplayName") ?? "").toLowerCase();
      const guids = ["schemaidguid", "attributesecurityguid"].flatMap((one) =>
        (entry.attributes.get(one) ?? []).map(guidText),
      );
      const [own] = guids;
      if (listed(entry, "objectClass").has("classschema") && own !== undefined) classes.set(name, own);
      else attributes.set(name, guids);
    }
  }
  return { classes, attributes };
}

class PermissionProof {
  readonly #permissions: readonly AccessControlEntry[];
  readonly #sids: ReadonlySet<string>;
  readonly #identifiers: Identifiers;

  constructor(permissions: readonly AccessControlEntry[], principal: Principal, identifiers: Identifiers) {
    this.#permissions = permissions;
    this.#sids = new Set(principal);
    this.#identifiers = identifiers;
  }

  missing(type: AdObjectType): string[] {
    const below = this.#identifiers.classes.get(type.name.toLowerCase());
    if (below === undefined) return [];
    const deletes =
      this.#has({ right: right.deleteChild, objectTypes: [below] }) ||
      this.#has({ right: right.delete, objectTypes: [], below });
    const resets = this.#has({ right: right.control, objectTypes: [resetPassword], below });
    return [
      ...(deletes ? [] : [`delete ${type.name}`]),
      ...(resets || !isAccount(type) ? [] : [`reset the password of ${type.name}`]),
    ];
  }

  unwritable(type: AdObjectType): string[] {
    const below = this.#identifiers.classes.get(type.name.toLowerCase());
    if (below === undefined) return [];
    return [...type.attributes.entries()]
      .filter(([, { readOnly, writeOnly }]) => readOnly !== true && writeOnly !== true)
      .filter(
        ([key]) =>
          !this.#has({
            right: right.writeProperty,
            objectTypes: this.#identifiers.attributes.get(key) ?? [],
            below,
          }),
      )
      .map(([, { name }]) => name);
  }

  #has(asked: Parameters<typeof isGranted>[2]): boolean {
    return isGranted(this.#permissions, this.#sids, asked);
  }
}

/** So many objects are looked through for one of each type. */
const objectsAsked = 100;

async function firstOfEach(
  client: AdClient,
  schema: AdSchema,
  container: string,
): Promise<ReadonlyMap<string, LdapEntry>> {
  const search = client.search(container, {
    filter: typesFilter(schema),
    attributes: ["objectClass", "allowedAttributesEffective"],
    controls: [domainScope],
    pageSize: 20,
  });
  const found = new Map<string, LdapEntry>();
  let asked = 0;
  for await (const { entries } of search) {
    for (const entry of entries) {
      const type = objectTypeOf(schema, entry);
      if (type !== undefined && !found.has(type.name)) found.set(type.name, entry);
    }
    asked += entries.length;
    if (found.size === schema.size || asked >= objectsAsked) break;
  }
  return found;
}

/** Undefined when there is no object to tell it by. */
function unwritable({ attributes }: AdObjectType, entry: LdapEntry | undefined): string[] | undefined {
  if (entry === undefined) return undefined;
  const writable = listed(entry, "allowedAttributesEffective");
  return [...attributes.values()]
    .filter(({ readOnly, writeOnly, name }) => !readOnly && !writeOnly && !writable.has(name.toLowerCase()))
    .map(({ name }) => name);
}

// ---- elsewhere -------------------------------------------------------------------------------------------------

/** So many containers outside of the scope are asked what the account may do there. */
const containersAsked = 1000;

/**
 * The account should be able to do nothing outside of its OUs. What a container passes on to the objects in it counts as
 * its own; permissions of single objects that are no containers are not looked at.
 */
export function examineElsewhere(
  client: AdClient,
  baseDn: string,
  containers: readonly string[],
  principal: Principal,
): Promise<Finding> {
  const what = "rights elsewhere";
  return told(what, async () => {
    const holders = ["domainDNS", "organizationalUnit", "container", "builtinDomain"];
    const sids = new Set(principal);
    const tooMuch: string[] = [];
    let asked = 0;
    const search = client.search(baseDn, {
      filter: all(any(...holders.map((name) => equals("objectClass", name)))),
      attributes: ["allowedChildClassesEffective", "sDRightsEffective", "nTSecurityDescriptor"],
      controls: [domainScope, withPermissions],
      pageSize: 50,
    });
    for await (const { entries } of search) {
      for (const entry of entries) {
        if (containers.some((container) => isUnder(entry.dn, container))) continue;
        asked++;
        const may = new Set(powers(permissionsOf(entry) ?? [], sids));
        if (listed(entry, "allowedChildClassesEffective").size > 0) may.add("create");
        if (mayChangeSecurity(entry)) may.add("change permissions");
        if (may.size > 0) tooMuch.push(`${entry.dn} (${[...may].join(", ")})`);
      }
      if (asked >= containersAsked) break;
    }
    if (tooMuch.length === 0) {
      const message = `The account may create, change, delete and reset nothing in ${asked} containers outside of its OUs.`;
      return ok(what, message);
    }
    const others = tooMuch.length > 5 ? ` and ${tooMuch.length - 5} more` : "";
    return {
      what,
      status: "warning",
      message: `The account has rights outside of its OUs, on ${tooMuch.slice(0, 5).join("; ")}${others}.`,
      remedy:
        "Take it out of Domain Admins and other groups with rights, and delegate only the OU: infra/ad/Grant-VestibuleRights.ps1.",
    };
  });
}
