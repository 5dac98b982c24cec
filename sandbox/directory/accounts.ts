/** The rules for accounts: unique names, userAccountControl, passwords ([MS-ADTS] 3.1.1.5, [MS-SAMR] 3.1.1.6-8). */
import { randomUUID } from "node:crypto";
import type { Directory, Principal } from "./directory.ts";
import { LdapError, refusal, resultCode } from "./errors.ts";
import { fileTime } from "./identifiers.ts";
import type { Draft } from "./operations.ts";
import {
  bindRefused,
  checkPasswordPolicy,
  decodeUnicodePwd,
  hashPassword,
  matchesPassword,
  noPassword,
  refusePasswordless,
} from "./passwords.ts";
import { type Entry, listOf } from "./store.ts";

const accountNameMax = 20;
const groupNameMax = 256;

/** Bits of userAccountControl ([MS-ADTS] 2.2.16). */
const uac = {
  disabled: 0x2,
  passwordNotRequired: 0x20,
  lockedOut: 0x10,
  normalAccount: 0x200,
  anyAccountType: 0x100 | 0x200 | 0x800 | 0x1000 | 0x2000,
  otherAccountTypes: 0x100 | 0x800 | 0x1000 | 0x2000,
  smartcardRequired: 0x40000,
  passwordExpired: 0x800000,
} as const;

/** Where the client says nothing: a normal account, disabled, that needs no password. */
const defaultUserAccountControl = uac.normalAccount | uac.disabled | uac.passwordNotRequired;

export interface Passwords {
  /** Given when the password is changed and not reset. */
  readonly old?: string;
  readonly set: string;
}

/** @throws LdapError unwillingToPerform */
export function decodePassword(values: readonly Buffer[]): string {
  if (values.length === 0) throw refusal.unwilling("unicodePwd needs a value");
  return decodeUnicodePwd(values.at(-1)!); // Samba takes the last one too
}

/** A name such as `$8E4D616C-B37F02A1AD6`, which a domain controller makes up for an account without one. */
export function generatedAccountName(): string {
  const hex = randomUUID().replaceAll("-", "").toUpperCase();
  return `$${hex.slice(0, 6)}-${hex.slice(6, 18)}`;
}

/**
 * Checks account name and user principal name of a draft against every live account of the forest.
 * @throws LdapError
 */
export function checkUnique(directory: Directory, entry: Entry | undefined, draft: Draft): void {
  const heldByAnother = (key: string, value: string) => {
    return [...directory.store.lookUp(key, value)!].some((other) => other !== entry && !other.deleted);
  };
  if (draft.has("samaccountname")) {
    const name = draft.get("samaccountname") as string | undefined;
    if (name === undefined) throw refusal.unwilling("sAMAccountName cannot be removed");
    const isGroup = draft.has("grouptype") || entry?.objectClass.name === "group";
    checkAccountName(name, isGroup ? groupNameMax : accountNameMax);
    if (heldByAnother("samaccountname", name)) {
      throw new LdapError(resultCode.entryAlreadyExists, 0x524, `sAMAccountName ${name} is in use`);
    }
  }
  const principalName = draft.get("userprincipalname") as string | undefined;
  if (principalName !== undefined && heldByAnother("userprincipalname", principalName)) {
    throw new LdapError(
      resultCode.constraintViolation,
      0x21c8,
      `userPrincipalName ${principalName} is in use`,
    );
  }
}

function checkAccountName(name: string, max: number): void {
  const invalid = /["/\\[\]:;|=,+*?<>]/.exec(name)?.[0];
  if (invalid !== undefined) throw refusal.constraint(`sAMAccountName contains '${invalid}'`);
  if (name.endsWith(".")) throw refusal.constraint("sAMAccountName ends with '.'");
  // Windows; Samba takes longer names.
  if (name.length > max) throw refusal.constraint(`sAMAccountName is longer than ${max} characters`);
}

/**
 * Completes the draft of a user: account type, password, time of its last change.
 * @param entry undefined while the user is being added
 * @throws LdapError
 */
export function applyAccountRules(
  directory: Directory,
  principal: Principal,
  entry: Entry | undefined,
  draft: Draft,
  passwords: Passwords | undefined,
): void {
  const adding = entry === undefined;
  const value = (key: string) => (draft.has(key) ? draft.get(key) : entry?.values[key]) as string | undefined;

  const before = Number(entry?.values.useraccountcontrol ?? 0);
  let after = before;
  if (adding || draft.has("useraccountcontrol")) {
    const given = draft.get("useraccountcontrol") as string | undefined;
    if (given === undefined && !adding) throw refusal.unwilling("userAccountControl cannot be removed");
    after = normalizeAccountControl(given === undefined ? defaultUserAccountControl : Number(given));
    directory.checkAccountControl(principal, before, after);
    draft.set("useraccountcontrol", String(after));
  }

  if (passwords !== undefined) {
    const stored = entry?.values.unicodepwd as string | undefined;
    if (passwords.old !== undefined && !matchesPassword(stored, passwords.old)) {
      throw new LdapError(resultCode.constraintViolation, 0x56, "the old password is wrong");
    }
    checkPasswordPolicy(passwords.set, value("samaccountname") ?? "");
    draft.set("unicodepwd", hashPassword(passwords.set));
  }
  if (value("unicodepwd") === undefined && (after & (uac.disabled | uac.passwordNotRequired)) === 0) {
    throw refusePasswordless(); // Windows; Samba lets it pass
  }
  // A password that was there is replaced by a random one, so that only the card lets its owner in.
  if ((after & uac.smartcardRequired) !== 0 && value("unicodepwd") !== undefined)
    draft.set("unicodepwd", noPassword);

  const requested = draft.get("pwdlastset");
  if (requested !== undefined && requested !== "0" && requested !== "-1") {
    throw new LdapError(resultCode.other, 0x57, "pwdLastSet must be 0 or -1");
  }
  if (requested === "-1" || (requested === undefined && passwords !== undefined)) {
    draft.set("pwdlastset", fileTime(Date.now()));
  } else if (adding) {
    draft.set("pwdlastset", "0");
  }
}

function normalizeAccountControl(given: number): number {
  if ((given & uac.otherAccountTypes) !== 0) {
    throw new LdapError(resultCode.objectClassViolation, 0x217c, "this account type needs another class");
  }
  const typed = (given & uac.anyAccountType) === 0 ? given | uac.normalAccount : given;
  return typed & ~(uac.lockedOut | uac.passwordExpired); // computed bits are not stored
}

/**
 * Checks a simple bind.
 * @returns the account's entry
 * @throws LdapError invalidCredentials, with the reason where Active Directory gives it
 */
export function authenticate(directory: Directory, name: string, password: string): Entry {
  const entry = password === "" ? undefined : directory.findAccount(name);
  if (entry === undefined || entry.deleted || entry.objectClass.name !== "user") throw bindRefused("52e");
  const [stored] = listOf(entry.values.unicodepwd);
  if (!matchesPassword(stored as string | undefined, password)) throw bindRefused("52e");
  if ((Number(entry.values.useraccountcontrol) & uac.disabled) !== 0) throw bindRefused("533");
  const expires = BigInt((entry.values.accountexpires as string | undefined) ?? 0);
  if (expires > 0n && expires < BigInt(fileTime(Date.now()))) throw bindRefused("701");
  if (entry.values.pwdlastset === "0") throw bindRefused("773");
  return entry;
}
