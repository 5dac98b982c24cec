/** LDAP messages on the wire (RFC 4511), over the BER reader and writer of ldapts. */
import { Ber, BerReader, BerWriter } from "ldapts";

export interface RequestControl {
  readonly oid: string;
  readonly critical: boolean;
  readonly value: Buffer | undefined;
}

export type Filter =
  | { readonly kind: "and" | "or"; readonly parts: readonly Filter[] }
  | { readonly kind: "not"; readonly part: Filter }
  | { readonly kind: "present"; readonly attribute: string }
  | {
      readonly kind: "equal" | "atLeast" | "atMost" | "approximately";
      readonly attribute: string;
      readonly value: Buffer;
    }
  | {
      readonly kind: "substrings";
      readonly attribute: string;
      readonly initial: Buffer | undefined;
      readonly any: readonly Buffer[];
      readonly final: Buffer | undefined;
    }
  | {
      readonly kind: "extensible";
      readonly rule: string | undefined;
      readonly attribute: string | undefined;
      readonly value: Buffer;
    };

export interface AttributeValues {
  /** As the client spells it. */
  readonly type: string;
  readonly values: readonly Buffer[];
}

export interface ModifyChange extends AttributeValues {
  readonly operation: "add" | "delete" | "replace";
}

export interface SearchRequest {
  readonly kind: "search";
  readonly base: string;
  readonly scope: "base" | "one" | "sub";
  /** 0: no limit asked for. */
  readonly sizeLimit: number;
  readonly typesOnly: boolean;
  readonly filter: Filter;
  readonly attributes: readonly string[];
}

export type Request =
  | { readonly kind: "bind"; readonly name: string; readonly password: string | undefined }
  | { readonly kind: "unbind" }
  | SearchRequest
  | { readonly kind: "modify"; readonly dn: string; readonly changes: readonly ModifyChange[] }
  | { readonly kind: "add"; readonly dn: string; readonly attributes: readonly AttributeValues[] }
  | { readonly kind: "delete"; readonly dn: string }
  | {
      readonly kind: "modifyDn";
      readonly dn: string;
      readonly newRdn: string;
      readonly deleteOldRdn: boolean;
      readonly newSuperior: string | undefined;
    }
  | { readonly kind: "compare"; readonly dn: string; readonly attribute: string; readonly value: Buffer }
  | { readonly kind: "abandon" }
  | { readonly kind: "extended"; readonly oid: string };

export interface RequestMessage {
  readonly id: number;
  readonly request: Request;
  readonly controls: readonly RequestControl[];
}

/** Bytes that are no LDAP message, or one that the server does not know. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

const maxMessageBytes = 10_485_760; // MaxReceiveBuffer of a Windows domain controller

/** Cuts whole messages off the front of what a connection has received. */
export function splitMessages(received: Buffer): {
  readonly messages: readonly Buffer[];
  readonly rest: Buffer;
} {
  const messages: Buffer[] = [];
  let start = 0;
  while (received.length - start >= 2) {
    if (received[start] !== 0x30) throw new ProtocolError("not an LDAP message");
    const reader = new BerReader(received.subarray(start));
    const contentAt = reader.readLength(1);
    if (contentAt === null) break;
    if (reader.length > maxMessageBytes) throw new ProtocolError("message too long");
    const end = start + contentAt + reader.length;
    if (end > received.length) break;
    messages.push(received.subarray(start, end));
    start = end;
  }
  return { messages, rest: received.subarray(start) };
}

const required = <T>(value: T | null): T => {
  if (value === null) throw new ProtocolError("message is cut short");
  return value;
};

/** Enters a constructed element and says where it ends. */
function enter(reader: BerReader, tag?: number): number {
  required(reader.readSequence(tag));
  return reader.offset + reader.length;
}

const octets = (reader: BerReader, tag: number = Ber.OctetString) => required(reader.readString(tag, true));
const text = (reader: BerReader, tag: number = Ber.OctetString) => required(reader.readString(tag));

/** @throws ProtocolError */
export function decodeRequest(message: Buffer): RequestMessage {
  try {
    const reader = new BerReader(message);
    enter(reader);
    const id = required(reader.readInt());
    const tag = required(reader.peek());
    const request = decodeOperation(reader, tag);
    return { id, request, controls: decodeControls(reader) };
  } catch (error) {
    throw error instanceof ProtocolError ? error : new ProtocolError((error as Error).message);
  }
}

function decodeOperation(reader: BerReader, tag: number): Request {
  switch (tag) {
    case 0x60: {
      enter(reader, tag);
      reader.readInt(); // the version: everything that reads like version 3 is taken for it
      const name = text(reader);
      if (reader.peek() === 0x80) return { kind: "bind", name, password: text(reader, 0x80) };
      skip(reader);
      return { kind: "bind", name, password: undefined };
    }
    case 0x42:
      return { kind: "unbind" };
    case 0x50:
      return { kind: "abandon" };
    case 0x63: {
      enter(reader, tag);
      const base = text(reader);
      const scope = (["base", "one", "sub"] as const)[required(reader.readEnumeration())];
      if (scope === undefined) throw new ProtocolError("unknown scope");
      reader.readEnumeration(); // alias dereferencing: there are no aliases
      const sizeLimit = required(reader.readInt());
      reader.readInt(); // the time limit: no search takes so long
      const typesOnly = required(reader.readBoolean());
      const filter = decodeFilter(reader);
      const attributes: string[] = [];
      for (const end = enter(reader); reader.offset < end; ) attributes.push(text(reader));
      return { kind: "search", base, scope, sizeLimit, typesOnly, filter, attributes };
    }
    case 0x66: {
      enter(reader, tag);
      const dn = text(reader);
      const changes: ModifyChange[] = [];
      for (const end = enter(reader); reader.offset < end; ) {
        enter(reader);
        const operation = (["add", "delete", "replace"] as const)[required(reader.readEnumeration())];
        if (operation === undefined) throw new ProtocolError("unknown modification");
        changes.push({ operation, ...decodeAttribute(reader) });
      }
      return { kind: "modify", dn, changes };
    }
    case 0x68: {
      enter(reader, tag);
      const dn = text(reader);
      const attributes: AttributeValues[] = [];
      for (const end = enter(reader); reader.offset < end; ) attributes.push(decodeAttribute(reader));
      return { kind: "add", dn, attributes };
    }
    case 0x4a:
      return { kind: "delete", dn: text(reader, tag) };
    case 0x6c: {
      const end = enter(reader, tag);
      const dn = text(reader);
      const newRdn = text(reader);
      const deleteOldRdn = required(reader.readBoolean());
      const newSuperior = reader.offset < end ? text(reader, 0x80) : undefined;
      return { kind: "modifyDn", dn, newRdn, deleteOldRdn, newSuperior };
    }
    case 0x6e: {
      enter(reader, tag);
      const dn = text(reader);
      enter(reader);
      return { kind: "compare", dn, attribute: text(reader), value: octets(reader) };
    }
    case 0x77: {
      const end = enter(reader, tag);
      const oid = text(reader, 0x80);
      reader.offset = end; // no supported extended request has a value
      return { kind: "extended", oid };
    }
    default:
      throw new ProtocolError(`unknown operation 0x${tag.toString(16)}`);
  }
}

function decodeAttribute(reader: BerReader): AttributeValues {
  enter(reader);
  const type = text(reader);
  const values: Buffer[] = [];
  for (const end = enter(reader, 0x31); reader.offset < end; ) values.push(octets(reader));
  return { type, values };
}

function decodeFilter(reader: BerReader): Filter {
  const tag = required(reader.peek());
  if (tag === 0x87) return { kind: "present", attribute: text(reader, tag) };
  const end = enter(reader, tag);
  switch (tag) {
    case 0xa0:
    case 0xa1: {
      const parts: Filter[] = [];
      while (reader.offset < end) parts.push(decodeFilter(reader));
      return { kind: tag === 0xa0 ? "and" : "or", parts };
    }
    case 0xa2:
      return { kind: "not", part: decodeFilter(reader) };
    case 0xa3:
      return { kind: "equal", attribute: text(reader), value: octets(reader) };
    case 0xa5:
      return { kind: "atLeast", attribute: text(reader), value: octets(reader) };
    case 0xa6:
      return { kind: "atMost", attribute: text(reader), value: octets(reader) };
    case 0xa8:
      return { kind: "approximately", attribute: text(reader), value: octets(reader) };
    case 0xa4: {
      const attribute = text(reader);
      let initial: Buffer | undefined;
      let final: Buffer | undefined;
      const any: Buffer[] = [];
      for (const partsEnd = enter(reader); reader.offset < partsEnd; ) {
        const part = required(reader.peek());
        if (part === 0x80) initial = octets(reader, part);
        else if (part === 0x82) final = octets(reader, part);
        else any.push(octets(reader, 0x81));
      }
      return { kind: "substrings", attribute, initial, any, final };
    }
    case 0xa9: {
      let rule: string | undefined;
      let attribute: string | undefined;
      let value: Buffer | undefined;
      while (reader.offset < end) {
        const part = required(reader.peek());
        if (part === 0x81) rule = text(reader, part);
        else if (part === 0x82) attribute = text(reader, part);
        else if (part === 0x83) value = octets(reader, part);
        else skip(reader); // dnAttributes, which Active Directory ignores
      }
      return { kind: "extensible", rule, attribute, value: required(value ?? null) };
    }
    default:
      throw new ProtocolError(`unknown filter 0x${tag.toString(16)}`);
  }
}

function skip(reader: BerReader): void {
  reader.offset = enter(reader);
}

function decodeControls(reader: BerReader): RequestControl[] {
  const controls: RequestControl[] = [];
  if (reader.peek() !== 0xa0) return controls;
  for (const end = enter(reader, 0xa0); reader.offset < end; ) {
    const controlEnd = enter(reader);
    const oid = text(reader);
    let critical = false;
    let value: Buffer | undefined;
    while (reader.offset < controlEnd) {
      if (reader.peek() === Ber.Boolean) critical = required(reader.readBoolean());
      else value = octets(reader);
    }
    controls.push({ oid, critical, value });
  }
  return controls;
}

// ---- answers ----

export interface ResponseControl {
  readonly oid: string;
  readonly value: Buffer;
}

export interface Result {
  readonly code: number;
  readonly message?: string;
  readonly controls?: readonly ResponseControl[];
}

/** Tags of the answers that consist of a result alone. */
export const responseTag = {
  bind: 0x61,
  search: 0x65,
  modify: 0x67,
  add: 0x69,
  delete: 0x6b,
  modifyDn: 0x6d,
  compare: 0x6f,
  extended: 0x78,
} as const;

export function encodeResult(
  id: number,
  tag: number,
  result: Result,
  extended?: { readonly oid?: string; readonly value?: string },
): Buffer {
  const writer = new BerWriter();
  writer.startSequence();
  writer.writeInt(id);
  writer.startSequence(tag);
  writer.writeEnumeration(result.code);
  writer.writeString(""); // matchedDN
  writer.writeString(result.message ?? "");
  if (extended?.oid !== undefined) writer.writeString(extended.oid, 0x8a);
  if (extended?.value !== undefined) writer.writeString(extended.value, 0x8b);
  writer.endSequence();
  if (result.controls !== undefined && result.controls.length > 0) {
    writer.startSequence(0xa0);
    for (const control of result.controls) {
      writer.startSequence();
      writer.writeString(control.oid);
      writer.writeBuffer(control.value, Ber.OctetString);
      writer.endSequence();
    }
    writer.endSequence();
  }
  writer.endSequence();
  return writer.buffer;
}

export interface ResultAttribute {
  readonly name: string;
  readonly values: readonly (string | Uint8Array)[];
}

export function encodeEntry(id: number, dn: string, attributes: readonly ResultAttribute[]): Buffer {
  // Room for everything at once: the writer of ldapts loses a byte when it has to shift a full buffer.
  let size = 64 + 3 * dn.length;
  for (const attribute of attributes) {
    size += attribute.name.length + 24;
    for (const value of attribute.values)
      size += 8 + (typeof value === "string" ? 3 * value.length : value.length);
  }
  const writer = new BerWriter({ size });
  writer.startSequence();
  writer.writeInt(id);
  writer.startSequence(0x64);
  writer.writeString(dn);
  writer.startSequence();
  for (const attribute of attributes) {
    writer.startSequence();
    writer.writeString(attribute.name);
    writer.startSequence(0x31);
    for (const value of attribute.values) {
      if (typeof value === "string") writer.writeString(value);
      else writer.writeBuffer(value as Buffer, Ber.OctetString);
    }
    writer.endSequence();
    writer.endSequence();
  }
  writer.endSequence();
  writer.endSequence();
  writer.endSequence();
  return writer.buffer;
}

export function encodeReference(id: number, url: string): Buffer {
  const writer = new BerWriter();
  writer.startSequence();
  writer.writeInt(id);
  writer.startSequence(0x73);
  writer.writeString(url);
  writer.endSequence();
  writer.endSequence();
  return writer.buffer;
}

/** RFC 4511 4.4.1: the server is about to close the connection, and why. */
export function encodeDisconnection(code: number, message: string): Buffer {
  return encodeResult(0, responseTag.extended, { code, message }, { oid: "1.3.6.1.4.1.1466.20036" });
}
