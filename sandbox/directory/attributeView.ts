/** An object's attributes as clients see them: the stored ones, and those that the directory computes. */
import type { Directory, Principal } from "./directory.ts";
import { generalizedTime, guidToBytes, sidToBytes } from "./identifiers.ts";
import {
  attribute,
  classes,
  forwardLinkOf,
  isBackLink,
  type SchemaAttribute,
  schemaClass,
} from "./schema.ts";
import { type Entry, listOf, type StoredValue } from "./store.ts";

/** Never shown, never compared. */
const hiddenKeys: ReadonlySet<string> = new Set(["unicodepwd", "userpassword"]);

/** What a user has without anybody having set it. */
const userDefaults: Readonly<Record<string, string>> = {
  badpwdcount: "0",
  codepage: "0",
  countrycode: "0",
  badpasswordtime: "0",
  lastlogoff: "0",
  lastlogon: "0",
  logoncount: "0",
  primarygroupid: "513",
  accountexpires: "9223372036854775807",
  samaccounttype: "805306368",
};

/** Computed attributes that `*` contains, in the order in which they are shown. */
const commonKeys = [
  "objectclass",
  "instancetype",
  "whencreated",
  "whenchanged",
  "usncreated",
  "usnchanged",
  "name",
  "objectguid",
  "objectsid",
  "isdeleted",
  "isrecycled",
  "objectcategory",
  "distinguishedname",
] as const;

const passwordExpired = 0x800000;

export class AttributeView {
  readonly #directory: Directory;
  readonly #principal: Principal;

  constructor(directory: Directory, principal: Principal) {
    this.#directory = directory;
    this.#principal = principal;
  }

  /** The values of one attribute; an entry stands for its DN. Empty when the object has none. */
  values(entry: Entry, attribute: SchemaAttribute): readonly StoredValue[] {
    const { key } = attribute;
    switch (key) {
      case "objectclass":
        return entry.objectClass.chain;
      case "name":
        return [entry.rdn.value];
      case "distinguishedname":
        return [entry];
      case "objectguid":
        return [guidToBytes(entry.guid)];
      case "objectsid": {
        const sid = this.#directory.sidOf(entry);
        return sid === undefined ? [] : [sidToBytes(sid)!];
      }
      case "instancetype":
        return [entry.partition !== entry ? "4" : entry.parent === undefined ? "5" : "13"];
      case "whencreated":
      case "createtimestamp":
        return [generalizedTime(entry.whenCreated)];
      case "whenchanged":
      case "modifytimestamp":
        return [generalizedTime(entry.whenChanged)];
      case "usncreated":
        return [String(entry.usnCreated)];
      case "usnchanged":
        return [String(entry.usnChanged)];
      case "isdeleted":
        return entry.deleted ? ["TRUE"] : [];
      case "isrecycled": // without the recycle bin every tombstone is as good as recycled
        return isTombstone(this.#directory, entry) ? ["TRUE"] : [];
      case "objectcategory":
        return entry.deleted && entry !== this.#directory.deletedObjects
          ? []
          : [`CN=${entry.objectClass.objectCategory},${this.#directory.schemaDn}`];
      default:
        break;
    }
    if (key === entry.objectClass.rdn) return [entry.rdn.value];
    if (hiddenKeys.has(key)) return [];
    if (isBackLink(attribute)) return [...(entry.backLinks?.get(forwardLinkOf(attribute)?.key ?? "") ?? [])];
    if (attribute.constructed) return this.#constructed(entry, key);
    const stored = entry.values[key];
    if (stored !== undefined) return listOf(stored);
    return defaultValue(entry, key);
  }

  /** Keys of the attributes that `*` stands for. */
  keys(entry: Entry): string[] {
    const keys: string[] = [...commonKeys];
    if (entry.objectClass.rdn !== "name") keys.push(entry.objectClass.rdn.toLowerCase());
    for (const key of Object.keys(entry.values)) if (!keys.includes(key)) keys.push(key);
    if (entry.objectClass.name === "user" && !entry.deleted) {
      for (const key of Object.keys(userDefaults)) if (entry.values[key] === undefined) keys.push(key);
    }
    if (entry.objectClass.name === "group") keys.push("samaccounttype");
    if (entry.backLinks !== undefined) keys.push("memberof", "directreports", "managedobjects");
    return keys;
  }

  #constructed(entry: Entry, key: string): readonly StoredValue[] {
    const directory = this.#directory;
    switch (key) {
      case "parentguid":
        return entry.parent === undefined ? [] : [guidToBytes(entry.parent.guid)];
      case "structuralobjectclass":
        return entry.objectClass.chain;
      case "canonicalname":
        return [canonicalName(directory, entry)];
      case "primarygrouptoken":
        return entry.objectClass.name === "group" && entry.rid !== undefined ? [String(entry.rid)] : [];
      case "tokengroups":
        return tokenGroups(directory, entry);
      case "msds-user-account-control-computed":
        if (entry.objectClass.name !== "user") return [];
        return [entry.values.pwdlastset === "0" ? String(passwordExpired) : "0"];
      case "allowedattributes":
        return [...entry.objectClass.allowed].map((allowed) => attribute(allowed)!.name);
      case "allowedattributeseffective":
        return [...entry.objectClass.allowed].flatMap((allowed) => {
          const { name, systemOnly, constructed, linkId } = attribute(allowed)!;
          const settable =
            !constructed && (!systemOnly || allowed === "name") && (linkId === undefined || linkId % 2 === 0);
          return settable && directory.canWrite(this.#principal, entry, allowed) ? [name] : [];
        });
      case "allowedchildclasses":
        return childClasses(entry);
      case "allowedchildclasseseffective":
        return childClasses(entry).filter((name) =>
          directory.canCreate(this.#principal, entry, schemaClass(name)!),
        );
      case "sdrightseffective":
        return [this.#principal.kind === "administrator" ? "15" : "0"];
      default:
        return [];
    }
  }
}

export function isTombstone(directory: Directory, entry: Entry): boolean {
  return entry.deleted && entry !== directory.deletedObjects;
}

function defaultValue(entry: Entry, key: string): readonly string[] {
  if (entry.deleted) return [];
  if (entry.objectClass.name === "group" && key === "samaccounttype") return ["268435456"];
  const value = entry.objectClass.name === "user" ? userDefaults[key] : undefined;
  return value === undefined ? [] : [value];
}

function childClasses(entry: Entry): string[] {
  return classes
    .filter((child) => child.kind === "structural" && child.allSuperiors.has(entry.objectClass.name))
    .map((child) => child.name);
}

function canonicalName(directory: Directory, entry: Entry): string {
  if (entry.parent === undefined) return `${directory.dnsName}/`;
  const parent = canonicalName(directory, entry.parent);
  return `${parent}${parent.endsWith("/") ? "" : "/"}${entry.rdn.value.replaceAll("/", "\\/")}`;
}

/** SIDs of the groups that an account is in, directly or through other groups, and of its primary group. */
function tokenGroups(directory: Directory, entry: Entry): Buffer[] {
  const groups = new Set<Entry>();
  const visit = (member: Entry) => {
    for (const group of member.backLinks?.get("member") ?? []) {
      if (groups.has(group)) continue;
      groups.add(group);
      visit(group);
    }
  };
  visit(entry);
  const sids = [...groups].map((group) => directory.sidOf(group));
  if (entry.objectClass.name === "user") sids.push(`${directory.domainSid}-513`);
  return sids.flatMap((sid) => (sid === undefined ? [] : [sidToBytes(sid)!]));
}

/** Whether an attribute can appear in what DirSync sends. */
export function isReplicated(schema: SchemaAttribute, entry: Entry): boolean {
  if (schema.notReplicated || schema.constructed || isBackLink(schema) || hiddenKeys.has(schema.key))
    return false;
  return schema.key !== entry.objectClass.rdn;
}
