/** A file of records, whatever its format. */

/** A value as the file has it: bytes only where LDIF gives base64. */
export type RawValue = string | Uint8Array;

export interface RawAttribute {
  /** As the file spells it. */
  readonly name: string;
  readonly values: readonly RawValue[];
}

export interface FileRecord {
  /** Where it begins, from 1. */
  readonly line: number;
  /** LDIF only. */
  readonly dn?: string;
  /** By lower-case name; an attribute without a value is not there. May be made anew at each look. */
  readonly attributes: ReadonlyMap<string, RawAttribute>;
  /** Why nothing can be taken from it. */
  readonly problem?: string;
}

export interface FileDocument {
  readonly records: readonly FileRecord[];
  /** CSV only: the names in the first line. */
  readonly columns?: readonly string[];
  readonly newline: "\n" | "\r\n";
  readonly byteOrderMark: boolean;
}

/** The file as a whole cannot be taken apart: where its records begin and end is not known. */
export class FileFormatError extends Error {
  readonly line: number;

  constructor(line: number, message: string) {
    super(message);
    this.name = "FileFormatError";
    this.line = line;
  }
}

export const byteOrderMark = "\uFEFF";

export function newlineOf(text: string): "\n" | "\r\n" {
  return text.includes("\r\n") ? "\r\n" : "\n";
}

/** What base64 stands for; undefined for what is none, of which Node.js would take a part. */
export function bytesOf(base64: string): Uint8Array | undefined {
  const text = base64.replace(/\s/g, "");
  const isBase64 = text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
  return isBase64 ? Uint8Array.from(Buffer.from(text, "base64")) : undefined;
}
