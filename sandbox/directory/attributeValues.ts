/** Values as clients send them, checked against the schema and turned into what the store keeps. */
import type { Directory } from "./directory.ts";
import { LdapError, refusal, resultCode } from "./errors.ts";
import { sidToBytes } from "./identifiers.ts";
import { isInRange, isValidText, type SchemaAttribute } from "./schema.ts";
import type { StoredValue } from "./store.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * @throws LdapError invalidAttributeSyntax for values that the syntax or the range does not allow;
 *   constraintViolation for references to nothing; invalidDnSyntax
 */
export function decodeValue(directory: Directory, schema: SchemaAttribute, value: Buffer): StoredValue {
  if (value.length === 0) throw refusal.invalidValue(schema.name);
  if (schema.syntax === "octets" || schema.syntax === "securityDescriptor" || schema.syntax === "sid") {
    const octets = schema.syntax === "sid" ? (sidToBytes(value.toString()) ?? value) : value;
    if (!isInRange(schema, octets)) throw refusal.invalidValue(schema.name);
    return Buffer.from(octets); // a copy: the request's buffer is much larger
  }
  let text: string;
  try {
    text = utf8.decode(value);
  } catch {
    throw refusal.invalidValue(schema.name); // not UTF-8
  }
  if (schema.syntax === "dn") {
    const target = directory.find(text);
    if (target === undefined || target.deleted) {
      throw new LdapError(resultCode.constraintViolation, 0x20b5, `${schema.name} refers to no object`);
    }
    return target;
  }
  if (!isValidText(schema, text) || !isInRange(schema, text)) throw refusal.invalidValue(schema.name);
  return text;
}

/** Whether a directory takes two values of an attribute for the same. */
export function sameValue(a: StoredValue, b: StoredValue): boolean {
  if (typeof a === "string" && typeof b === "string") return a.toLowerCase() === b.toLowerCase();
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return a === b;
}
