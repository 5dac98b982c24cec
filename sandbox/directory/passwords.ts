/** Passwords as the directory takes, checks and keeps them. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { LdapError, resultCode } from "./errors.ts";

/** Stands where an account has a password that nobody knows; no password matches it. */
export const noPassword = "!";

/** Salted and hashed once: quick, because a sandbox fills itself with many accounts, and no secret worth more. */
export function hashPassword(password: string, salt = randomBytes(12).toString("base64")): string {
  return `${salt} ${createHash("sha256").update(`${salt} ${password}`).digest("base64")}`;
}

export function matchesPassword(stored: string | undefined, password: string): boolean {
  const salt = stored?.split(" ")[0];
  if (stored === undefined || salt === undefined || stored === noPassword) return false;
  const expected = Buffer.from(stored);
  const actual = Buffer.from(hashPassword(password, salt));
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

/**
 * The text of a unicodePwd value: UTF-16LE in double quotes ([MS-ADTS] 3.1.1.3.1.5).
 * @throws LdapError unwillingToPerform
 */
export function decodeUnicodePwd(value: Buffer): string {
  const text = value.length % 2 === 0 ? value.toString("utf16le") : "";
  if (text.length < 2 || !text.startsWith('"') || !text.endsWith('"')) {
    throw new LdapError(resultCode.unwillingToPerform, 0x1f, "unicodePwd is not a quoted UTF-16LE string");
  }
  return text.slice(1, -1);
}

/**
 * The default password policy of a domain: 7 characters of three classes, without the account's name.
 * @throws LdapError constraintViolation 0000052D
 */
export function checkPasswordPolicy(password: string, accountName: string): void {
  const refuse = (why: string) => new LdapError(resultCode.constraintViolation, 0x52d, `the password ${why}`);
  if (password.length < 7) throw refuse("is too short");
  const classes = [/\p{Lu}/u, /\p{Ll}/u, /\d/, /[^\p{L}\d]/u, /[\p{Lo}\p{Lt}\p{Lm}]/u];
  const met = classes.filter((characterClass) => characterClass.test(password)).length;
  if (met < 3) throw refuse("does not meet the complexity criteria");
  if (accountName.length > 2 && password.toLowerCase().includes(accountName.toLowerCase())) {
    throw refuse("contains the account name");
  }
}

/** An account that could be logged on to must have had a password set. */
export function refusePasswordless(): LdapError {
  return new LdapError(resultCode.unwillingToPerform, 0x52d, "an enabled account needs a password");
}

/** The answers to a bind that fails; the `data` part is a Windows error that clients look for. */
export function bindRefused(data: "52e" | "533" | "701" | "773"): LdapError {
  return new LdapError(
    resultCode.invalidCredentials,
    0x80090308,
    `LdapErr: DSID-0C090449, comment: AcceptSecurityContext error, data ${data}, v4563`,
  );
}

export const notBound = () =>
  new LdapError(
    resultCode.operationsError,
    0x4dc,
    "LdapErr: DSID-0C090A71, comment: In order to perform this operation a successful bind must be completed on the connection.",
  );
