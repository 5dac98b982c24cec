import { randomInt } from "node:crypto";

const classes = [
  "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
  "abcdefghijklmnopqrstuvwxyz",
  "0123456789",
  "!#$%&()*+,-./:;<=>?@[]^_{|}~",
] as const;
const alphabet = classes.join("");
/**
 * One block of the hash that makes Kerberos keys of it (PBKDF2 with HMAC-SHA1, RFC 3962): of a longer password a domain
 * controller hashes each of 4,096 rounds twice. Measured with Samba: 36 ms for 80 characters, 29 ms for 64.
 */
const length = 64;

/**
 * A password that nobody will know: 64 characters of a CSPRNG, about 415 bits. It is sent once and kept nowhere.
 * @param account what the password must not contain, or Active Directory refuses it ("Password must meet complexity
 *   requirements"): the account name, and of the display name each part of three or more characters. A short name
 *   like "Lee" is found in one of a thousand such passwords.
 */
export function newPassword(account: {
  readonly accountName?: string;
  readonly displayName?: string;
}): string {
  const forbidden = [account.accountName ?? "", ...(account.displayName ?? "").split(/[,.\-_\s#]+/)]
    .filter((part) => part.length >= 3)
    .map((part) => part.toLowerCase());
  for (;;) {
    const password = Array.from({ length }, () => alphabet[randomInt(alphabet.length)]!).join("");
    const hasAllClasses = classes.every((symbols) =>
      [...symbols].some((symbol) => password.includes(symbol)),
    );
    const lower = password.toLowerCase();
    if (hasAllClasses && !forbidden.some((part) => lower.includes(part))) return password;
  }
}
