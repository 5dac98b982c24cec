import type { AttributeChange } from "../../core/model.ts";
import {
  type AttributeValue,
  attributesEqual,
  comparisonKey,
  dnKey,
  escapeRdnValue,
  isUnder,
  parentDn,
  parseDn,
  type Value,
  valuesOf,
} from "../../core/values.ts";
import { ConnectorError, type ExportChange, type ExportResult } from "../../ports/connector.ts";
import { newPassword } from "../password.ts";
import { type AdClient, any, domainScope, equals, type RawAttribute, type RawChange } from "./adClient.ts";
import { anchorOf, isInScope, objectTypeOf } from "./entries.ts";
import { refusal, type WriteKind } from "./exportErrors.ts";
import { LdapError, resultCode } from "./ldapErrors.ts";
import type { LdapEntry } from "./ldapMessages.ts";
import { namingViolation } from "./namingRules.ts";
import { type AdAttribute, type AdObjectType, type AdSchema, firstText } from "./schema.ts";
import { byGuid, decodeAttribute, encodeAttribute, encodePassword, encodeValue } from "./values.ts";

export interface ExportScope {
  readonly client: AdClient;
  readonly schema: AdSchema;
  readonly baseDn: string;
  readonly containers: readonly string[];
  readonly stampAttribute: string;
  readonly randomPassword: boolean;
  /** Asked right before each write. */
  mayWrite(): boolean;
}

type Failed = Extract<ExportResult, { kind: "failed" }>;

/**
 * Sends one change. Each can be sent twice: an update and a delete look at the object before they write, so they
 * send what is missing, hit an object that was renamed by hand, and spare one that was moved out of scope.
 * @throws ConnectorError when the directory fails; whether the change was done is then unknown.
 */
export async function exportChange(scope: ExportScope, change: ExportChange): Promise<ExportResult> {
  const type = scope.schema.get(change.objectType);
  if (type === undefined) {
    return failed("schema-violation", `${change.dn}: the connector has no object type ${change.objectType}.`);
  }
  try {
    switch (change.change) {
      case "add":
        return await new AddOperation(scope, type, change).run();
      case "update":
        return await update(scope, type, change);
      case "delete":
        return await remove(scope, change);
    }
  } catch (error) {
    // A value of the wrong type, told without the value.
    if (error instanceof TypeError)
      return failed("invalid-attribute-value", `${change.dn}: ${error.message}.`);
    if (error instanceof RefusedWrite) return refusal(error.refused, error.kind, error.dn);
    if (error instanceof LdapError) return refusal(error, "modify", change.dn);
    throw error;
  }
}

function failed(code: string, message: string): Failed {
  return { kind: "failed", code, message };
}

class RefusedWrite extends Error {
  readonly refused: LdapError;
  readonly kind: WriteKind;
  readonly dn: string;

  constructor(refused: LdapError, kind: WriteKind, dn: string) {
    super(refused.message, { cause: refused });
    this.refused = refused;
    this.kind = kind;
    this.dn = dn;
  }
}

/** Every write goes through here. @throws RefusedWrite, ConnectorError */
async function write(
  scope: ExportScope,
  kind: WriteKind,
  dn: string,
  send: (client: AdClient) => Promise<void>,
): Promise<void> {
  if (!scope.mayWrite()) {
    throw new ConnectorError(
      "unreachable",
      "The time for this batch of exports is over; the rest is sent later.",
    );
  }
  try {
    await send(scope.client);
  } catch (error) {
    throw error instanceof LdapError ? new RefusedWrite(error, kind, dn) : error;
  }
}

function isRefusal(error: unknown, codes: readonly number[]): boolean {
  return error instanceof RefusedWrite && codes.includes(error.refused.code);
}
/** Somebody has the name already. */
const duplicateCodes = [resultCode.entryAlreadyExists, resultCode.constraintViolation];
/** The value to delete is gone, or there is one where none was. */
const changedMeanwhileCodes = [resultCode.noSuchAttribute, resultCode.attributeOrValueExists];

// ---- add -------------------------------------------------------------------------------------------------------

/**
 *   outcome known ──► add ── success ─────────────────────────────► exported
 *                      └─ refused as a duplicate (68, 19) ─┐
 *   outcome unknown ───────────────────────────────────────┴► who has DN, account name, UPN, stamp?
 *        a foreign object ────────────────────────────────────────► cd-existing-object, with its DN
 *        ours, outside the scope ─────────────────────────────────► cd-existing-object: left alone
 *        ours ──► rename, send the difference, a fresh password ──► exported, resumed
 *        nobody ──► add, when it was not tried; else the refusal
 */
class AddOperation {
  readonly #scope: ExportScope;
  readonly #type: AdObjectType;
  readonly #change: ExportChange;

  constructor(scope: ExportScope, type: AdObjectType, change: ExportChange) {
    this.#scope = scope;
    this.#type = type;
    this.#change = change;
  }

  async run(): Promise<ExportResult> {
    const { dn, attributes } = this.#change;
    const violation = namingViolation(this.#type, attributes, dn);
    if (violation !== undefined) return failed(violation.code, `${violation.message} (${dn}).`);
    if (!isInScope(parentDn(dn), this.#scope.containers)) return outsideOfScope(dn, this.#scope);
    if (this.#change.outcomeUnknown) {
      const met = await this.#examineHolders();
      if (met !== undefined) return met;
    }
    const content = this.#content();
    try {
      await write(this.#scope, "add", dn, (client) => client.add(dn, content));
    } catch (error) {
      const met = isRefusal(error, duplicateCodes) ? await this.#examineHolders() : undefined;
      if (met === undefined) throw error;
      return met;
    }
    const created = await this.#scope.client.read(dn, ["objectGUID"]);
    const anchor = created && anchorOf(created);
    if (created === undefined || anchor === undefined) {
      return failed(
        "cd-missing-object",
        `${dn}: it was created and cannot be read. Grant the account of AD_BIND_DN the right to read it.`,
      );
    }
    return { kind: "exported", anchor, dn: created.dn };
  }

  /** Everything in one operation: there is never an account without a password. */
  #content(): RawAttribute[] {
    const content: RawAttribute[] = [{ name: "objectClass", values: [Buffer.from(this.#type.name)] }];
    for (const { name, after } of this.#change.attributes) {
      const attribute = this.#attribute(name);
      if (isNameOrPassword(this.#type, attribute) || after === undefined) continue;
      content.push({ name, values: encodeAttribute(attribute, after) });
    }
    const password = this.#password();
    if (password !== undefined) content.push({ name: "unicodePwd", values: [password] });
    return content;
  }

  /** A new one at each call. A password that flows by a rule is sent as it is. */
  #password(): Buffer | undefined {
    const flowed = this.#wanted("unicodePwd");
    if (typeof flowed === "string") return encodePassword(flowed);
    if (!this.#scope.randomPassword || !isAccount(this.#type)) return undefined;
    const [accountName, displayName] = [this.#wanted("sAMAccountName"), this.#wanted("displayName")];
    return encodePassword(
      newPassword({
        ...(typeof accountName === "string" ? { accountName } : {}),
        ...(typeof displayName === "string" ? { displayName } : {}),
      }),
    );
  }

  #wanted(name: string): Value | undefined {
    const found = this.#change.attributes.find((one) => one.name.toLowerCase() === name.toLowerCase());
    return valuesOf(found?.after)[0];
  }

  #attribute(name: string): AdAttribute {
    return attributeOf(this.#type, name);
  }

  /** Undefined when nobody has what this account wants. */
  async #examineHolders(): Promise<ExportResult | undefined> {
    const { stampAttribute, containers } = this.#scope;
    const stamp = this.#wanted(stampAttribute);
    const holders = await this.#holders();
    const isOurs = (holder: LdapEntry) =>
      typeof stamp === "string" &&
      firstText(holder, stampAttribute)?.toLowerCase() === stamp.toLowerCase() &&
      objectTypeOf(this.#scope.schema, holder)?.name === this.#type.name;
    const foreign = holders.find((holder) => !isOurs(holder));
    if (foreign !== undefined) return this.#clash(foreign);
    const [own, second] = holders;
    if (own === undefined) return undefined;
    if (second !== undefined) {
      return failed(
        "cd-existing-object",
        `${this.#change.dn}: two objects carry the same ${stampAttribute}: ${own.dn} and ${second.dn}. Remove one of them.`,
      );
    }
    if (!isInScope(own.dn, containers)) {
      return failed(
        "cd-existing-object",
        `${this.#change.dn}: this account exists as ${own.dn}, outside of the connector's OUs. It is left alone; move it back, or clear its ${stampAttribute}.`,
      );
    }
    return this.#resume(own);
  }

  async #holders(): Promise<readonly LdapEntry[]> {
    const { client, baseDn, stampAttribute } = this.#scope;
    const unique = ["sAMAccountName", "userPrincipalName", stampAttribute].flatMap((name) => {
      const value = this.#wanted(name);
      return typeof value === "string" ? [equals(name, value)] : [];
    });
    const attributes = ["objectClass", "objectGUID", "sAMAccountName", "userPrincipalName", stampAttribute];
    const byDn = await client.read(this.#change.dn, attributes);
    const found = new Map<string, LdapEntry>();
    if (byDn !== undefined) found.set(dnKey(byDn.dn), byDn);
    if (unique.length > 0) {
      const search = client.search(baseDn, { filter: any(...unique), attributes, controls: [domainScope] });
      for await (const { entries } of search) for (const entry of entries) found.set(dnKey(entry.dn), entry);
    }
    return [...found.values()];
  }

  #clash(holder: LdapEntry): Failed {
    const held = ["sAMAccountName", "userPrincipalName", this.#scope.stampAttribute].filter((name) => {
      const value = this.#wanted(name);
      return typeof value === "string" && firstText(holder, name)?.toLowerCase() === value.toLowerCase();
    });
    if (dnKey(holder.dn) === dnKey(this.#change.dn)) held.unshift("DN");
    return failed(
      "cd-existing-object",
      `${this.#change.dn}: ${holder.dn}, which is not ours, has the same ${held.join(" and ")}. Nothing was written. Rename or remove it, or let it join.`,
    );
  }

  async #resume(own: LdapEntry): Promise<ExportResult> {
    const anchor = anchorOf(own);
    if (anchor === undefined) return failed("cd-missing-object", `${own.dn}: its objectGUID cannot be read.`);
    // What an account of ours has is compared with what is wanted; what it was before does not matter.
    const changes = this.#change.attributes.map(({ name, after, rule }): AttributeChange => {
      return after === undefined ? { name, rule } : { name, after, rule };
    });
    const present = await readForUpdate(this.#scope, this.#type, byGuid(anchor), changes);
    if (present === undefined)
      return failed("cd-missing-object", `${own.dn}: it vanished while it was examined.`);
    const difference = changes.flatMap((change): RawChange[] => {
      const attribute = this.#attribute(change.name);
      if (isNameOrPassword(this.#type, attribute) || change.after === undefined) return [];
      const value = decodeAttribute(attribute, rawValues(present, change.name));
      if (attributesEqual(value, change.after, attribute.syntax)) return [];
      return [{ operation: "replace", name: change.name, values: encodeAttribute(attribute, change.after) }];
    });
    // Nobody knows which of the attempts set the password, so it is set anew: known to nobody in any case.
    const password = this.#password();
    if (password !== undefined)
      difference.push({ operation: "replace", name: "unicodePwd", values: [password] });
    if (difference.length > 0) {
      await write(this.#scope, "modify", present.dn, (client) => client.modify(byGuid(anchor), difference));
    }
    const dn = await rename(this.#scope, anchor, present.dn, this.#change.dn);
    return { kind: "exported", anchor, dn, resumed: true };
  }
}

// ---- update ----------------------------------------------------------------------------------------------------

async function update(scope: ExportScope, type: AdObjectType, change: ExportChange): Promise<ExportResult> {
  const violation = namingViolation(type, change.attributes, change.newDn);
  if (violation !== undefined) return failed(violation.code, `${violation.message} (${change.dn}).`);
  if (change.newDn !== undefined && !isInScope(parentDn(change.newDn), scope.containers)) {
    return outsideOfScope(change.newDn, scope);
  }
  const target = change.anchor === null ? change.dn : byGuid(change.anchor);
  const present = await readForUpdate(scope, type, target, change.attributes);
  const anchor = present && anchorOf(present);
  if (present === undefined || anchor === undefined) {
    return failed(
      "cd-missing-object",
      `${change.dn}: it is not in the directory any more. The next import and synchronisation decide anew.`,
    );
  }
  if (!isInScope(present.dn, scope.containers)) return movedOutOfScope(change, present.dn);

  const changes: RawChange[] = [];
  for (const one of change.attributes) {
    const delta = attributeDelta(attributeOf(type, one.name), one, rawValues(present, one.name), type);
    if (delta === "stale") return changedByOthers(present.dn, one.name);
    changes.push(...delta);
  }
  if (changes.length > 0) {
    try {
      await write(scope, "modify", present.dn, (client) => client.modify(byGuid(anchor), changes));
    } catch (error) {
      if (isRefusal(error, changedMeanwhileCodes))
        return changedByOthers(present.dn, changes.map(({ name }) => name).join(", "));
      const taken = isRefusal(error, duplicateCodes) ? await takenName(scope, change, anchor) : undefined;
      if (taken === undefined) throw error;
      return taken;
    }
  }
  const dn = change.newDn === undefined ? present.dn : await rename(scope, anchor, present.dn, change.newDn);
  return { kind: "exported", anchor, dn };
}

/** Who has a name that the change would give; undefined when nobody has, and the refusal has another reason. */
async function takenName(
  scope: ExportScope,
  { dn, attributes }: ExportChange,
  anchor: string,
): Promise<Failed | undefined> {
  for (const { name, after } of attributes) {
    if ((name !== "sAMAccountName" && name !== "userPrincipalName") || typeof after !== "string") continue;
    const search = scope.client.search(scope.baseDn, {
      filter: equals(name, after),
      attributes: ["objectGUID"],
      controls: [domainScope],
    });
    for await (const { entries } of search) {
      const holder = entries.find((entry) => anchorOf(entry) !== anchor);
      if (holder === undefined) continue;
      return failed(
        "cd-existing-object",
        `${dn}: ${holder.dn} has the same ${name}. Nothing was written. Free it there: it is never altered here.`,
      );
    }
  }
  return undefined;
}

/**
 * Attributes that the account manager of a domain controller owns. It knows only their replacement for certain, and
 * takes one value of those that the schema calls multi-valued. [MS-SAMR] 3.1.1.3 to 3.1.1.8
 */
const replacedAttributes: ReadonlySet<string> = new Set([
  "accountexpires",
  "comment",
  "description",
  "homedirectory",
  "homedrive",
  "logonhours",
  "primarygroupid",
  "profilepath",
  "pwdlastset",
  "samaccountname",
  "scriptpath",
  "useraccountcontrol",
  "userworkstations",
]);

/**
 * What is missing for `change`, as exact deltas:
 *
 *   the present value is the wanted one ──► nothing
 *   one value ──► delete what is there, add what is wanted: refused if it changes in between. Where the directory
 *                 takes a replacement only, the look just before has to do
 *   several values ──► add and delete the values that differ; what others did meanwhile stays
 *   neither the known nor the wanted value is there ──► stale: somebody else wrote, and the import has not seen it
 */
export function attributeDelta(
  attribute: AdAttribute,
  change: AttributeChange,
  present: readonly Buffer[],
  type: AdObjectType,
): RawChange[] | "stale" {
  const { name, before, after } = change;
  if (attribute.writeOnly === true) {
    const [password] = valuesOf(after);
    if (typeof password !== "string") throw new TypeError(`${name} takes a text`);
    return [{ operation: "replace", name, values: [encodePassword(password)] }];
  }
  if (isNameOrPassword(type, attribute)) return []; // the rename sets it
  const replaced = replacedAttributes.has(name.toLowerCase());
  if (attribute.multiValued && !replaced) return valuesDelta(attribute, name, before, after, present);

  const value = decodeAttribute(attribute, present);
  // An exact comparison: a change of case alone is wanted too.
  if (attributesEqual(value, after, attribute.type === "reference" ? "dn" : "exact")) return [];
  if (!attributesEqual(value, before, attribute.syntax) && !attributesEqual(value, after, attribute.syntax)) {
    return "stale";
  }
  const added = encodeAttribute(attribute, after);
  if (replaced && added.length > 0) return [{ operation: "replace", name, values: added }];
  const changes: RawChange[] = [];
  if (present.length > 0) changes.push({ operation: "delete", name, values: present });
  if (added.length > 0) changes.push({ operation: "add", name, values: added });
  return changes;
}

function valuesDelta(
  attribute: AdAttribute,
  name: string,
  before: AttributeValue | undefined,
  after: AttributeValue | undefined,
  present: readonly Buffer[],
): RawChange[] {
  const keyed = (values: readonly Value[]) =>
    new Map(values.map((value) => [comparisonKey(value, attribute.syntax), value]));
  const [known, wanted] = [keyed(valuesOf(before)), keyed(valuesOf(after))];
  const there = keyed(valuesOf(decodeAttribute(attribute, present)));
  const added = [...wanted]
    .filter(([key]) => !there.has(key))
    .map(([, value]) => encodeValue(attribute, value));
  const removed = [...there]
    .filter(([key]) => known.has(key) && !wanted.has(key))
    .map(([, value]) => encodeValue(attribute, value));
  const changes: RawChange[] = [];
  if (removed.length > 0) changes.push({ operation: "delete", name, values: removed });
  if (added.length > 0) changes.push({ operation: "add", name, values: added });
  return changes;
}

function changedByOthers(dn: string, attributes: string): Failed {
  return failed(
    "cd-error",
    `${dn}: ${attributes} was changed in the directory since the last import. Nothing was overwritten; the next import and synchronisation decide anew.`,
  );
}

// ---- delete ----------------------------------------------------------------------------------------------------

async function remove(scope: ExportScope, change: ExportChange): Promise<ExportResult> {
  const target = change.anchor === null ? change.dn : byGuid(change.anchor);
  const present = await scope.client.read(target, ["objectGUID"]);
  const anchor = (present && anchorOf(present)) ?? change.anchor ?? "";
  const gone: ExportResult = { kind: "exported", anchor, dn: present?.dn ?? change.dn };
  if (present === undefined) return gone;
  if (!isInScope(present.dn, scope.containers)) return movedOutOfScope(change, present.dn);
  try {
    await write(scope, "delete", present.dn, (client) => client.delete(byGuid(anchor)));
  } catch (error) {
    if (!isRefusal(error, [resultCode.noSuchObject])) throw error;
  }
  return gone;
}

// ---- shared ----------------------------------------------------------------------------------------------------

/** Accounts have a password: users and the types derived from them. */
const isAccount = (type: AdObjectType) => ["user", "inetorgperson"].includes(type.name.toLowerCase());

function isNameOrPassword(type: AdObjectType, attribute: AdAttribute): boolean {
  return (
    attribute.writeOnly === true ||
    [type.rdnAttribute, "distinguishedname"].includes(attribute.name.toLowerCase())
  );
}

function attributeOf(type: AdObjectType, name: string): AdAttribute {
  const attribute = type.attributes.get(name.toLowerCase());
  if (attribute === undefined) throw new TypeError(`${name} is not an attribute of the connector`);
  return attribute;
}

const rawValues = (entry: LdapEntry, name: string) => entry.attributes.get(name.toLowerCase()) ?? [];

function readForUpdate(
  { client }: ExportScope,
  type: AdObjectType,
  target: string,
  changes: readonly AttributeChange[],
): Promise<LdapEntry | undefined> {
  const readable = changes
    .filter(({ name }) => attributeOf(type, name).writeOnly !== true)
    .map(({ name }) => name);
  return client.read(target, ["objectGUID", ...readable]);
}

/** Renames or moves where the DN differs. @returns the DN as the directory spells it. */
async function rename(scope: ExportScope, anchor: string, presentDn: string, newDn: string): Promise<string> {
  const [rdn] = parseDn(newDn)[0] ?? [];
  if (rdn === undefined) throw new TypeError("the new DN is empty");
  const sameName = parseDn(presentDn)[0]?.[0]?.value === rdn.value; // case counts: a rename may change nothing else
  if (sameName && dnKey(presentDn) === dnKey(newDn)) return presentDn;
  const newRdn = `${rdn.type}=${escapeRdnValue(rdn.value)}`;
  const superior = parentDn(newDn);
  await write(scope, "rename", presentDn, (client) => client.modifyDn(byGuid(anchor), newRdn, superior));
  return (await scope.client.read(byGuid(anchor), []))?.dn ?? newDn;
}

function outsideOfScope(dn: string, { containers }: ExportScope): Failed {
  return failed(
    "invalid-dn",
    `${dn}: it lies outside of the connector's OUs (${containers.join("; ")}). Correct the flow that forms the DN, or GUEST_OU.`,
  );
}

function movedOutOfScope(change: ExportChange, dn: string): Failed {
  const what = isUnder(dn, change.dn) ? "" : ` was moved to ${dn},`;
  return failed(
    "cd-missing-object",
    `${change.dn}:${what} outside of the connector's OUs. It is left alone; move it back if it shall be managed.`,
  );
}
