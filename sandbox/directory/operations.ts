/**
 * Add, modify, rename, delete: what Active Directory checks and what it sets by itself. Each operation checks
 * everything first and then changes the store once, so a refused operation leaves no trace.
 */
import {
  applyAccountRules,
  checkUnique,
  decodePassword,
  generatedAccountName,
  type Passwords,
} from "./accounts.ts";
import { decodeValue, sameValue } from "./attributeValues.ts";
import { isTombstone } from "./attributeView.ts";
import { type Directory, isWithin, type Principal } from "./directory.ts";
import { parseDn, type Rdn, rdnKey } from "./dn.ts";
import { LdapError, refusal, resultCode } from "./errors.ts";
import type { AttributeValues, ModifyChange } from "./protocol.ts";
import { attribute, isBackLink, type SchemaAttribute, type SchemaClass, schemaClass } from "./schema.ts";
import { type Entry, listOf, type StoredValue, type StoredValues } from "./store.ts";

export interface OperationControls {
  readonly showDeleted: boolean;
  /** Adding what is there and deleting what is not is no error (1.2.840.113556.1.4.1413). */
  readonly permissiveModify: boolean;
  /** Delete everything below as well (1.2.840.113556.1.4.805). */
  readonly treeDelete: boolean;
}

/** Values as an operation would leave them, by key; undefined: no longer there. */
export type Draft = Map<string, StoredValues | undefined>;

/** Longest common name that Windows takes; Samba takes longer ones. */
const commonNameMax = 64;
/** What a tombstone keeps of its values ([MS-ADTS] 3.1.1.5.5.1.1); names and identifiers stay anyway. */
const keptByTombstone: ReadonlySet<string> = new Set([
  "samaccountname",
  "useraccountcontrol",
  "grouptype",
  "systemflags",
  "sidhistory",
]);

export class Operations {
  readonly #directory: Directory;
  readonly #principal: Principal;

  constructor(directory: Directory, principal: Principal) {
    this.#directory = directory;
    this.#principal = principal;
  }

  add(dn: string, given: readonly AttributeValues[]): void {
    const { store } = this.#directory;
    const [rdn, ...above] = parseDn(dn);
    if (rdn === undefined) throw refusal.unwilling("the root cannot be added");
    const byKey = mergeByKey(given);
    const objectClass = structuralClass(dn, byKey.get("objectclass"));
    const parent = this.#directory.findByRdns(above);
    if (parent === undefined || parent.deleted) {
      throw new LdapError(resultCode.noSuchObject, 0x208d, `the parent of ${dn} does not exist`);
    }
    this.#checkName(rdn, objectClass, parent);
    if (parent.children?.has(rdnKey(rdn))) throw alreadyExists(dn);
    if (!this.#directory.canCreate(this.#principal, parent, objectClass)) throw refusal.accessDenied(dn);

    const draft: Draft = new Map();
    let passwords: Passwords | undefined;
    for (const [key, { schema, values }] of byKey) {
      if (key === "objectclass") continue;
      checkSettable(schema, objectClass);
      if (key === objectClass.rdn || key === "name") {
        const matches = values.some((value) => value.toString().toLowerCase() === rdn.value.toLowerCase());
        if (!matches)
          throw new LdapError(resultCode.invalidDnSyntax, 0x2032, `${schema.name} differs from the RDN`);
      } else if (key === "unicodepwd") {
        passwords = { set: decodePassword(values) };
      } else if (schema.systemOnly) {
        throw refusal.unwilling(`${schema.name} is set by the directory`);
      } else if (values.length > 0) {
        const stored = values.map((value) => decodeValue(this.#directory, schema, value));
        if (schema.single && stored.length > 1) {
          throw new LdapError(resultCode.constraintViolation, 0x2081, `${schema.name} takes one value`);
        }
        draft.set(key, stored.length === 1 ? stored[0]! : stored);
      }
    }
    const isAccount = objectClass.name === "user" || objectClass.name === "group";
    if (isAccount && draft.get("samaccountname") === undefined)
      draft.set("samaccountname", generatedAccountName());
    if (objectClass.name === "group" && !draft.has("grouptype")) draft.set("grouptype", "-2147483646");
    checkUnique(this.#directory, undefined, draft);
    if (objectClass.name === "user") {
      applyAccountRules(this.#directory, this.#principal, undefined, draft, passwords);
    }
    const values = Object.fromEntries([...draft].filter(([, value]) => value !== undefined));
    store.create({
      parent,
      rdn: { type: objectClass.rdn.toUpperCase(), value: rdn.value },
      objectClass,
      values: values as Record<string, StoredValues>,
      ...(isAccount ? { rid: store.allocateRid() } : {}),
    });
  }

  modify(dn: string, changes: readonly ModifyChange[], controls: OperationControls): void {
    const entry = this.#directory.resolve(dn, this.#principal, controls.showDeleted);
    if (isTombstone(this.#directory, entry)) {
      this.#reanimate(entry, changes);
      return;
    }

    const draft: Draft = new Map();
    const passwords: { old?: string; set?: string } = {};
    for (const change of changes) {
      const schema = knownAttribute(change.type);
      if (schema.key === "unicodepwd") {
        this.#readPasswordChange(entry, change, passwords);
        continue;
      }
      this.#checkModifiable(entry, schema);
      this.#applyChange(entry, schema, change, draft, controls.permissiveModify);
    }
    checkUnique(this.#directory, entry, draft);
    if (entry.objectClass.name === "user") {
      const given = passwords.set === undefined ? undefined : { ...passwords, set: passwords.set };
      applyAccountRules(this.#directory, this.#principal, entry, draft, given);
    }
    // A value that is written again does not count as a change: neither a new USN nor news for DirSync.
    for (const [key, values] of draft) if (sameValues(entry.values[key], values)) draft.delete(key);
    if (draft.size > 0) this.#directory.store.update(entry, { values: draft });
  }

  /** Renames or moves. Active Directory always drops the old RDN value, whatever `deleteOldRdn` says. */
  modifyDn(dn: string, newRdn: string, newSuperior: string | undefined, controls: OperationControls): void {
    const directory = this.#directory;
    const entry = directory.resolve(dn, this.#principal, controls.showDeleted);
    const [rdn, ...more] = parseDn(newRdn);
    if (rdn === undefined || more.length > 0)
      throw new LdapError(resultCode.namingViolation, 0x2037, "invalid new RDN");
    const parent = newSuperior === undefined ? entry.parent : directory.find(newSuperior);
    if (parent === undefined || parent.deleted) {
      throw new LdapError(resultCode.other, 0x2095, `the new parent of ${dn} does not exist`);
    }
    if (entry.deleted || entry.parent === undefined || entry.partition === entry) {
      throw refusal.unwilling(`${dn} cannot be renamed`);
    }
    const moved = parent !== entry.parent;
    const writable = directory.canWrite(this.#principal, entry, "name");
    const movable =
      !moved ||
      (directory.canDelete(this.#principal, entry) &&
        directory.canCreate(this.#principal, parent, entry.objectClass));
    if (!writable || !movable) throw refusal.accessDenied(dn);
    this.#checkName(rdn, entry.objectClass, parent);
    if (isWithin(parent, entry)) throw refusal.unwilling("an object cannot move below itself");
    const other = parent.children?.get(rdnKey(rdn));
    if (other !== undefined && other !== entry) throw alreadyExists(`${newRdn} in its place`);
    const canonical = { type: entry.objectClass.rdn.toUpperCase(), value: rdn.value };
    if (moved || canonical.value !== entry.rdn.value)
      directory.store.update(entry, { rename: { parent, rdn: canonical } });
  }

  /** Turns an object into a tombstone in the container of deleted objects. */
  delete(dn: string, controls: OperationControls): void {
    const entry = this.#directory.resolve(dn, this.#principal, controls.showDeleted);
    if (!this.#directory.canDelete(this.#principal, entry)) throw refusal.accessDenied(dn);
    const { root } = this.#directory.store;
    const isSystem =
      entry.partition !== root || (entry.parent === root && entry.objectClass.name === "container");
    if (entry.deleted || entry.parent === undefined || isSystem)
      throw refusal.unwilling(`${dn} cannot be deleted`);
    const below = [...(entry.children?.values() ?? [])];
    if (below.length > 0 && !controls.treeDelete) {
      throw new LdapError(resultCode.notAllowedOnNonLeaf, 0x2015, `${dn} has objects below it`);
    }
    for (const child of below) this.delete(`<GUID=${child.guid}>`, controls);
    this.#entomb(entry);
  }

  compare(dn: string, name: string): { entry: Entry; schema: SchemaAttribute } {
    const schema = knownAttribute(name);
    return { entry: this.#directory.resolve(dn, this.#principal, false), schema };
  }

  #entomb(entry: Entry): void {
    const values: Draft = new Map();
    for (const key of Object.keys(entry.values)) if (!keptByTombstone.has(key)) values.set(key, undefined);
    values.set("lastknownparent", entry.parent!);
    values.set("msds-lastknownrdn", entry.rdn.value);
    const rdn = { type: entry.rdn.type, value: `${entry.rdn.value}\nDEL:${entry.guid}` };
    const rename = { parent: this.#directory.deletedObjects, rdn };
    this.#directory.store.update(entry, { values, rename, deleted: true });
  }

  /** Brings a tombstone back: `delete: isDeleted` and `replace: distinguishedName` in one request. */
  #reanimate(entry: Entry, changes: readonly ModifyChange[]): void {
    const directory = this.#directory;
    const undeletes = changes.some(({ type, operation, values }) => {
      return type.toLowerCase() === "isdeleted" && (operation === "delete" || values.length === 0);
    });
    const dn = changes.find(({ type }) => type.toLowerCase() === "distinguishedname")?.values[0]?.toString();
    if (!undeletes || dn === undefined) throw refusal.unwilling("a deleted object can only be brought back");
    if (this.#principal.kind !== "administrator") throw refusal.accessDenied("reanimate tombstones");
    const [rdn, ...above] = parseDn(dn);
    const parent = directory.findByRdns(above);
    if (parent === undefined || parent.deleted) throw refusal.noSuchObject(`the parent of ${dn}`);
    this.#checkName(rdn!, entry.objectClass, parent);
    if (parent.children?.has(rdnKey(rdn!))) throw alreadyExists(dn);
    const draft: Draft = new Map([
      ["lastknownparent", undefined],
      ["msds-lastknownrdn", undefined],
    ]);
    for (const change of changes) {
      const schema = knownAttribute(change.type);
      if (schema.key === "isdeleted" || schema.key === "distinguishedname") continue;
      this.#checkModifiable(entry, schema);
      this.#applyChange(entry, schema, change, draft, false);
    }
    checkUnique(directory, entry, new Map([["samaccountname", entry.values.samaccountname], ...draft]));
    const canonical = { type: entry.objectClass.rdn.toUpperCase(), value: rdn!.value };
    directory.store.update(entry, { values: draft, rename: { parent, rdn: canonical }, deleted: false });
  }

  #checkName(rdn: Rdn, objectClass: SchemaClass, parent: Entry): void {
    if (rdn.type.toLowerCase() !== objectClass.rdn) {
      throw new LdapError(
        resultCode.namingViolation,
        0x2037,
        `a ${objectClass.name} is named by ${objectClass.rdn}`,
      );
    }
    if (!objectClass.allSuperiors.has(parent.objectClass.name)) {
      const where = parent.objectClass.name;
      throw new LdapError(
        resultCode.namingViolation,
        0x2037,
        `a ${objectClass.name} cannot be below a ${where}`,
      );
    }
    if (rdn.value.length > commonNameMax) {
      throw new LdapError(
        resultCode.constraintViolation,
        0x2081,
        `the name is longer than ${commonNameMax} characters`,
      );
    }
  }

  #checkModifiable(entry: Entry, schema: SchemaAttribute): void {
    if (schema.key === entry.objectClass.rdn || schema.key === "name") {
      throw new LdapError(resultCode.notAllowedOnRdn, 0x2016, `${schema.name} changes by a rename`);
    }
    if (schema.key === "objectclass") throw refusal.classViolation("the structural class of an object stays");
    if (schema.key === "objectsid" || isBackLink(schema)) {
      throw refusal.unwilling(`${schema.name} cannot be written`);
    }
    if (schema.systemOnly || schema.constructed) {
      throw refusal.constraint(`${schema.name} is set by the directory`);
    }
    if (!this.#directory.canWrite(this.#principal, entry, schema.key))
      throw refusal.accessDenied(schema.name);
    checkSettable(schema, entry.objectClass);
  }

  #applyChange(
    entry: Entry,
    schema: SchemaAttribute,
    change: ModifyChange,
    draft: Draft,
    permissive: boolean,
  ): void {
    const { key, name } = schema;
    const current = listOf(draft.has(key) ? draft.get(key) : entry.values[key]);
    const given = change.values.map((value) => decodeValue(this.#directory, schema, value));
    let next: readonly StoredValue[];
    switch (change.operation) {
      case "replace":
        next = given;
        break;
      case "add": {
        const fresh = given.filter((value) => !current.some((held) => sameValue(held, value)));
        if (fresh.length < given.length && !permissive) {
          if (key === "member") throw alreadyExists("the member");
          throw valueExists(name);
        }
        next = [...current, ...fresh];
        break;
      }
      default: {
        const missing = given.some((value) => !current.some((held) => sameValue(held, value)));
        if (!permissive && (missing || current.length === 0)) {
          if (key === "member") throw refusal.unwilling("not a member");
          throw new LdapError(resultCode.noSuchAttribute, 0x2085, `${name} has no such value`);
        }
        next =
          given.length === 0 ? [] : current.filter((held) => !given.some((value) => sameValue(held, value)));
      }
    }
    if (schema.single && next.length > 1) throw valueExists(name);
    if (next.length === 0 && key === "userprincipalname" && change.operation === "replace") {
      throw refusal.classViolation("userPrincipalName is removed by a delete, not by an empty replace");
    }
    draft.set(key, next.length === 0 ? undefined : next.length === 1 ? next[0]! : next);
  }

  /** A replace resets the password, which takes a right; a delete with an add changes it, which takes the old one. */
  #readPasswordChange(entry: Entry, change: ModifyChange, passwords: { old?: string; set?: string }): void {
    checkSettable(attribute("unicodePwd")!, entry.objectClass);
    if (change.operation === "delete") {
      passwords.old = decodePassword(change.values);
      return;
    }
    const isReset = change.operation === "replace";
    if (isReset && !this.#directory.canResetPassword(this.#principal, entry)) {
      throw refusal.accessDenied("reset password");
    }
    if (!isReset && passwords.old === undefined) throw refusal.unwilling("a new password needs the old one");
    passwords.set = decodePassword(change.values);
  }
}

interface GivenAttribute {
  readonly schema: SchemaAttribute;
  readonly values: Buffer[];
}

function mergeByKey(given: readonly AttributeValues[]): Map<string, GivenAttribute> {
  const byKey = new Map<string, GivenAttribute>();
  for (const { type, values } of given) {
    const schema = knownAttribute(type);
    const known = byKey.get(schema.key);
    if (known === undefined) byKey.set(schema.key, { schema, values: [...values] });
    else known.values.push(...values);
  }
  return byKey;
}

function knownAttribute(name: string): SchemaAttribute {
  const schema = attribute(name.split(";")[0]!);
  if (schema === undefined) throw refusal.unknownAttribute(name);
  return schema;
}

/** The most derived of the given classes; the others must be its superclasses. */
function structuralClass(dn: string, given: GivenAttribute | undefined): SchemaClass {
  if (given === undefined || given.values.length === 0)
    throw refusal.classViolation(`${dn} has no objectClass`);
  const named = given.values.map((value) => {
    const found = schemaClass(value.toString());
    if (found === undefined) {
      throw new LdapError(
        resultCode.noSuchAttribute,
        0x200a,
        `objectClass ${value.toString()} is not in the schema`,
      );
    }
    return found;
  });
  const derived = named.reduce((most, next) => (next.chain.length > most.chain.length ? next : most));
  if (derived.kind !== "structural") throw refusal.unwilling(`${derived.name} is not a structural class`);
  const stranger = named.find((other) => !derived.chain.includes(other.name));
  if (stranger !== undefined)
    throw refusal.classViolation(`${derived.name} does not derive from ${stranger.name}`);
  return derived;
}

function checkSettable(schema: SchemaAttribute, objectClass: SchemaClass): void {
  if (isBackLink(schema)) throw refusal.unwilling(`${schema.name} cannot be written`);
  if (!objectClass.allowed.has(schema.key)) {
    const text = `${schema.name} is not an attribute of ${objectClass.name}`;
    throw new LdapError(resultCode.objectClassViolation, 0x207d, text);
  }
}

function sameValues(held: StoredValues | undefined, next: StoredValues | undefined): boolean {
  const before = listOf(held);
  const after = listOf(next);
  return before.length === after.length && before.every((value, i) => identical(value, after[i]!));
}

/** Unlike `sameValue` this tells upper from lower case: changing the case of a name is a change. */
function identical(a: StoredValue, b: StoredValue): boolean {
  return a instanceof Uint8Array && b instanceof Uint8Array ? Buffer.compare(a, b) === 0 : a === b;
}

function alreadyExists(what: string): LdapError {
  return new LdapError(resultCode.entryAlreadyExists, 0x2071, `${what} already exists`);
}

function valueExists(name: string): LdapError {
  return new LdapError(
    resultCode.attributeOrValueExists,
    0x2083,
    `${name} has this value, or takes only one`,
  );
}
