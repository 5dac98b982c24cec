/**
 * Reading of LDAP messages (RFC 4511): frames, results and entries, with every value as the bytes that came.
 * Requests are written by ldapts; its reading side is not used because it decodes each value as text, fills in
 * attributes that the server did not send, and drops matchedDN and referrals (DIRECTORIES.md 2b).
 */

/** One result. `code` is an LDAP result code of RFC 4511 appendix A. */
export interface LdapResult {
  readonly code: number;
  readonly message: string;
  /** The last existing ancestor of a name that was not found. */
  readonly matchedDn: string;
  readonly referrals: readonly string[];
  /** Values of the response controls by OID. */
  readonly controls: ReadonlyMap<string, Buffer>;
}

export interface LdapEntry {
  readonly dn: string;
  /** By lower-case name, only what the server sent. An empty list is what the server sent as empty. */
  readonly attributes: ReadonlyMap<string, readonly Buffer[]>;
}

export type LdapResponse =
  | { readonly kind: "entry"; readonly id: number; readonly entry: LdapEntry }
  | { readonly kind: "reference"; readonly id: number }
  /** `id` is 0 for a notice of disconnection. */
  | { readonly kind: "result"; readonly id: number; readonly result: LdapResult };

/** The bytes are not LDAP. Nothing that follows on this connection can be understood. */
export class LdapProtocolError extends Error {
  override readonly name = "LdapProtocolError";
}

const tags = {
  integer: 0x02,
  octetString: 0x04,
  enumerated: 0x0a,
  sequence: 0x30,
  entry: 0x64,
  reference: 0x73,
  referral: 0xa3,
  controls: 0xa0,
} as const;
/** bind, search done, modify, add, delete, modify DN, extended (a notice of disconnection is one). */
const resultTags: ReadonlySet<number> = new Set([0x61, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x78]);

/** A message of a page with 1,000 entries is sent entry by entry, so even large photos stay far below this. */
const messageMaxBytes = 64 * 1024 * 1024;

interface Element {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

/** Where the content of the element at `at` begins; undefined while its header is not complete. */
function contentStart(bytes: Buffer, at: number): number | undefined {
  if (bytes.length < at + 2) return undefined;
  const first = bytes[at + 1]!;
  if (first < 0x80) return at + 2;
  const count = first & 0x7f;
  if (count === 0 || count > 4) throw new LdapProtocolError(`length of ${count} octets`);
  return bytes.length < at + 2 + count ? undefined : at + 2 + count;
}

function contentEnd(bytes: Buffer, at: number, start: number): number {
  const first = bytes[at + 1]!;
  return start + (first < 0x80 ? first : bytes.readUIntBE(at + 2, start - at - 2));
}

function header(bytes: Buffer, at: number): Element | undefined {
  const start = contentStart(bytes, at);
  return start === undefined ? undefined : { tag: bytes[at]!, start, end: contentEnd(bytes, at, start) };
}

function element(bytes: Buffer, at: number, limit: number, tag?: number): Element {
  const found = header(bytes, at);
  if (found === undefined || found.end > limit)
    throw new LdapProtocolError("element reaches beyond its parent");
  if (tag !== undefined && found.tag !== tag) {
    throw new LdapProtocolError(`tag 0x${found.tag.toString(16)} instead of 0x${tag.toString(16)}`);
  }
  return found;
}

function children(bytes: Buffer, parent: Element): Element[] {
  const found: Element[] = [];
  for (let at = parent.start; at < parent.end; at = found.at(-1)!.end)
    found.push(element(bytes, at, parent.end));
  return found;
}

const text = (bytes: Buffer, { start, end }: Element) => bytes.toString("utf8", start, end);

function readNumber(bytes: Buffer, { start, end }: Element): number {
  if (end === start || end - start > 4) throw new LdapProtocolError(`number of ${end - start} octets`);
  return bytes.readIntBE(start, end - start);
}

/** Cuts a stream of bytes into messages. @throws LdapProtocolError */
export class LdapFramer {
  #rest: Buffer = Buffer.alloc(0);

  /** Calls `deliver` for every message that `data` completes. */
  read(data: Buffer, deliver: (message: LdapResponse) => void): void {
    const bytes = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data]);
    let at = 0;
    for (;;) {
      if (at < bytes.length && bytes[at] !== tags.sequence) {
        throw new LdapProtocolError(`message begins with 0x${bytes[at]!.toString(16)}`);
      }
      const message = header(bytes, at);
      if (message === undefined) break;
      if (message.end - at > messageMaxBytes) throw new LdapProtocolError("message is too long");
      if (message.end > bytes.length) break;
      deliver(parseMessage(bytes, message));
      at = message.end;
    }
    this.#rest = bytes.subarray(at);
  }
}

function parseMessage(bytes: Buffer, message: Element): LdapResponse {
  const number = element(bytes, message.start, message.end, tags.integer);
  const id = readNumber(bytes, number);
  const operation = element(bytes, number.end, message.end);
  if (operation.tag === tags.entry) return { kind: "entry", id, entry: parseEntry(bytes, operation) };
  if (operation.tag === tags.reference) return { kind: "reference", id };
  if (!resultTags.has(operation.tag)) {
    throw new LdapProtocolError(`unknown response 0x${operation.tag.toString(16)}`);
  }
  const [code, matchedDn, diagnostic, ...rest] = children(bytes, operation);
  if (code?.tag !== tags.enumerated || matchedDn === undefined || diagnostic === undefined) {
    throw new LdapProtocolError("result without a code");
  }
  const referral = rest.find(({ tag }) => tag === tags.referral);
  return {
    kind: "result",
    id,
    result: {
      code: readNumber(bytes, code),
      matchedDn: text(bytes, matchedDn),
      // Active Directory ends its diagnostic with a zero byte.
      message: text(bytes, diagnostic).replace(/[\0\s]+$/, ""),
      referrals: referral === undefined ? [] : children(bytes, referral).map((uri) => text(bytes, uri)),
      controls: parseControls(bytes, operation.end, message.end),
    },
  };
}

function parseEntry(bytes: Buffer, operation: Element): LdapEntry {
  const reader = new EntryReader(bytes, operation.start);
  const dn = reader.text(reader.enter(operation.end));
  const attributes = new Map<string, readonly Buffer[]>();
  for (const end = reader.enter(operation.end); reader.at < end; ) {
    const attributeEnd = reader.enter(end);
    const type = reader.text(reader.enter(attributeEnd));
    attributes.set(type.toLowerCase(), reader.values(reader.enter(attributeEnd)));
    reader.at = attributeEnd;
  }
  return { dn, attributes };
}

/** Walks by position, since an import reads a hundred elements for every entry: none of them becomes an object. */
class EntryReader {
  readonly #bytes: Buffer;
  at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  /** Goes to the content of the element that begins here. @returns where it ends */
  enter(limit: number): number {
    const start = contentStart(this.#bytes, this.at);
    const end = start === undefined ? Infinity : contentEnd(this.#bytes, this.at, start);
    if (start === undefined || end > limit) {
      throw new LdapProtocolError("element reaches beyond its parent");
    }
    this.at = start;
    return end;
  }

  text(end: number): string {
    const found = this.#bytes.toString("utf8", this.at, end);
    this.at = end;
    return found;
  }

  values(end: number): Buffer[] {
    if (this.at === end) return [];
    const found = [this.#value(end)]; // most have one, and an array that grows begins with room for many
    while (this.at < end) found.push(this.#value(end));
    return found;
  }

  #value(limit: number): Buffer {
    const end = this.enter(limit);
    const found = this.#bytes.subarray(this.at, end);
    this.at = end;
    return found;
  }
}

function parseControls(bytes: Buffer, at: number, limit: number): ReadonlyMap<string, Buffer> {
  const controls = new Map<string, Buffer>();
  if (at >= limit) return controls;
  for (const control of children(bytes, element(bytes, at, limit, tags.controls))) {
    const [type, ...rest] = children(bytes, control);
    if (type === undefined) throw new LdapProtocolError("control without a type");
    const value = rest.find(({ tag }) => tag === tags.octetString);
    controls.set(text(bytes, type), value ? bytes.subarray(value.start, value.end) : Buffer.alloc(0));
  }
  return controls;
}

/** The cookie of a paged results response (RFC 2696); empty after the last page. */
export function pagedResultsCookie(value: Buffer): Buffer {
  const [, cookie] = children(value, element(value, 0, value.length, tags.sequence));
  if (cookie === undefined) throw new LdapProtocolError("paged results without a cookie");
  return Buffer.from(value.subarray(cookie.start, cookie.end));
}

/** The value of a DirSync response. [MS-ADTS] 3.1.1.3.4.1.3 */
export function dirSyncState(value: Buffer): { readonly more: boolean; readonly cookie: Buffer } {
  const [more, , cookie] = children(value, element(value, 0, value.length, tags.sequence));
  if (more?.tag !== tags.integer || cookie === undefined) {
    throw new LdapProtocolError("DirSync without a cookie");
  }
  return {
    more: value.subarray(more.start, more.end).some((byte) => byte !== 0),
    cookie: Buffer.from(value.subarray(cookie.start, cookie.end)),
  };
}
