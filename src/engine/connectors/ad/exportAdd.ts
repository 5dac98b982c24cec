import type { AttributeChange } from "../../core/model.ts";
import { attributesEqual, dnKey, parentDn, type Value, valuesOf } from "../../core/values.ts";
import type { ExportChange, ExportResult } from "../../ports/connector.ts";
import { newPassword } from "../password.ts";
import { equals, type RawAttribute, type RawChange } from "./adClient.ts";
import { anchorOf, isInScope, objectTypeOf } from "./entries.ts";
import {
  attributeOf,
  duplicateCodes,
  type ExportScope,
  type Failed,
  failed,
  isAccount,
  isNameOrPassword,
  isRefusal,
  outsideOfScope,
  rawValues,
  readForUpdate,
  rename,
  write,
} from "./exportScope.ts";
import type { LdapEntry } from "./ldapMessages.ts";
import { denyLogon, membershipAttributes } from "./logonDenial.ts";
import { holdersOf, namesOf, uniqueNames } from "./nameHolders.ts";
import { namingViolation } from "./namingRules.ts";
import { type AdAttribute, type AdObjectType, firstText } from "./schema.ts";
import { byGuid, decodeAttribute, encodeAttribute, encodePassword } from "./values.ts";

/**
 *   outcome known, names free ──► add ── success ─────────────────► exported
 *                      └─ refused as a duplicate (68, 19) ─┐
 *   outcome unknown ───────────────────────────────────────┴► who has DN, account name, UPN, stamp?
 *        a foreign object ────────────────────────────────────────► cd-existing-object, with its DN
 *        ours, outside the scope ─────────────────────────────────► cd-existing-object: left alone
 *        ours ──► rename, send the difference, a fresh password ──► exported, resumed
 *        nobody ──► add, when it was not tried; else the refusal
 */
export class AddOperation {
  readonly #scope: ExportScope;
  readonly #type: AdObjectType;
  readonly #change: ExportChange;

  readonly #meetsHolder: boolean;

  /** @param meetsHolder somebody was seen to have one of the names */
  constructor(scope: ExportScope, type: AdObjectType, change: ExportChange, meetsHolder: boolean) {
    this.#scope = scope;
    this.#type = type;
    this.#change = change;
    this.#meetsHolder = meetsHolder;
  }

  async run(): Promise<ExportResult> {
    const { dn, attributes } = this.#change;
    const violation = namingViolation(this.#type, attributes, dn);
    if (violation !== undefined) return failed(violation.code, `${violation.message} (${dn}).`);
    if (!isInScope(parentDn(dn), this.#scope.containers)) return outsideOfScope(dn, this.#scope);
    if (this.#change.outcomeUnknown || this.#meetsHolder) {
      const met = await this.#examineHolders();
      if (met !== undefined) return met;
    }
    const content = this.#content();
    let created: LdapEntry | undefined;
    try {
      created = await this.#addAndRead(content);
    } catch (error) {
      const met = isRefusal(error, duplicateCodes) ? await this.#examineHolders() : undefined;
      if (met === undefined) throw error;
      return met;
    }
    created ??= await this.#scope.client.read(dn, ["objectGUID"]);
    const anchor = created && anchorOf(created);
    if (created === undefined || anchor === undefined) {
      return failed(
        "cd-missing-object",
        `${dn}: it was created and cannot be read. Grant the account of AD_BIND_DN the right to read it.`,
      );
    }
    const result: ExportResult = { kind: "exported", anchor, dn: created.dn };
    return (isAccount(this.#type) ? await denyLogon(this.#scope, created.dn) : undefined) ?? result;
  }

  /**
   * The read is on its way before the add is answered, which spares a round trip. A directory that does them at the same
   * time may not find the account yet: then nothing comes of it.
   */
  async #addAndRead(content: readonly RawAttribute[]): Promise<LdapEntry | undefined> {
    const { dn } = this.#change;
    let reading: Promise<LdapEntry | undefined> | undefined;
    await write(this.#scope, "add", dn, async (client) => {
      const adding = client.add(dn, content);
      // If the connection fails, so does the add, which tells of it; after an add that was answered it is read again.
      reading = client.read(dn, ["objectGUID"]).catch(() => undefined);
      await adding;
    });
    return reading;
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
    const { client, stampAttribute } = this.#scope;
    const stamp = this.#wanted(stampAttribute);
    const stamped = typeof stamp === "string" ? [equals(stampAttribute, stamp)] : [];
    const attributes = ["objectClass", "objectGUID", ...uniqueNames, stampAttribute];
    const byDn = await client.read(this.#change.dn, attributes);
    const found = new Map<string, LdapEntry>();
    if (byDn !== undefined) found.set(dnKey(byDn.dn), byDn);
    const names = namesOf(this.#change);
    if (names.length + stamped.length > 0) {
      const holders = await holdersOf(this.#scope, names, stamped, [stampAttribute]);
      for (const holder of holders) found.set(dnKey(holder.dn), holder);
    }
    return [...found.values()];
  }

  #clash(holder: LdapEntry): Failed {
    const held = [...uniqueNames, this.#scope.stampAttribute].filter((name) => {
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
    const present = await readForUpdate(
      this.#scope,
      this.#type,
      byGuid(anchor),
      changes,
      membershipAttributes(this.#scope),
    );
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
    const result: ExportResult = { kind: "exported", anchor, dn, resumed: true };
    return (isAccount(this.#type) ? await denyLogon(this.#scope, dn, present) : undefined) ?? result;
  }
}
