/** Distinguished names: RFC 4514, written the way a Samba domain controller writes them. */
import { LdapError, resultCode } from "./errors.ts";

export interface Rdn {
  readonly type: string;
  readonly value: string;
}

/**
 * Parses a DN into its RDNs, the leaf first.
 * @throws LdapError invalidDnSyntax; multi-valued RDNs, which Active Directory does not know, are refused too
 */
export function parseDn(text: string): Rdn[] {
  const rdns: Rdn[] = [];
  let at = 0;
  const invalid = () => new LdapError(resultCode.invalidDnSyntax, 0x2032, `invalid DN: ${text}`);

  while (at < text.length) {
    const equals = text.indexOf("=", at);
    if (equals < 0) throw invalid();
    const type = text.slice(at, equals).trim();
    if (!/^([a-z][a-z0-9-]*|\d+(\.\d+)+)$/i.test(type)) throw invalid();
    at = equals + 1;
    while (text[at] === " ") at += 1;

    // Bytes, because an escape may be one byte of a character. `kept` is where trailing spaces may be cut.
    const bytes: number[] = [];
    let kept = 0;
    for (; at < text.length && text[at] !== "," && text[at] !== ";"; at++) {
      const character = text[at]!;
      if (character === "+" || character === '"' || character === "<" || character === ">") throw invalid();
      if (character !== "\\") {
        const codePoint = String.fromCodePoint(text.codePointAt(at)!);
        bytes.push(...Buffer.from(codePoint));
        at += codePoint.length - 1;
        if (character !== " ") kept = bytes.length;
        continue;
      }
      const hex = text.slice(at + 1, at + 3);
      if (/^[0-9a-f]{2}$/i.test(hex)) {
        bytes.push(Number.parseInt(hex, 16));
        at += 2;
      } else {
        const next = text[at + 1];
        if (next === undefined || !' "#+,;<=>\\?'.includes(next)) throw invalid();
        bytes.push(next.charCodeAt(0));
        at += 1;
      }
      kept = bytes.length;
    }
    const value = Buffer.from(bytes.slice(0, kept)).toString("utf8");
    if (value === "") throw invalid();
    rdns.push({ type, value });
    if (at < text.length) {
      at += 1;
      if (text.slice(at).trim() === "") throw invalid(); // a comma with nothing behind it
    }
  }
  return rdns;
}

/** Escapes an RDN value: `,` `+` `"` `\` `<` `>` `#` `?` by a backslash; `;` `=` and control characters in hex. */
function escapeRdnValue(value: string): string {
  return value
    .replace(/[,+"\\<>#?]/g, (character) => `\\${character}`)
    .replace(/^ | $/g, "\\ ")
    .replace(/[;=\0\r\n]/g, (character) => {
      return `\\${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
    });
}

export function formatRdn(rdn: Rdn): string {
  return `${rdn.type}=${escapeRdnValue(rdn.value)}`;
}

/** Equal for two RDNs that Active Directory takes for the same name. */
export function rdnKey(rdn: Rdn): string {
  return `${rdn.type.toLowerCase()}=${rdn.value.toLowerCase()}`;
}
