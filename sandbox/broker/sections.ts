/**
 * The sections of an AMQP message as Service Bus uses them.
 *
 *   header  delivery annotations  message annotations │ properties  application properties  body  footer
 *   ────────────── the broker's own, written anew ─── │ ─────── the bare message, kept byte for byte ───
 *
 * Two exceptions touch the bare message: a message without an id is given one (the client cannot renew its lock
 * otherwise), and a dead letter carries its reason among the application properties.
 *
 * Format: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html
 * Annotations: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide
 */
import { randomUUID } from "node:crypto";
import type { Typed } from "rhea";
import rhea from "rhea";
import type { MessageToSend, QueuedMessage } from "./model.ts";
import { readValue, writeSection } from "./rheaInternals.ts";

const { types } = rhea;

const HEADER = 0x70;
const MESSAGE_ANNOTATIONS = 0x72;
const PROPERTIES = 0x73;
const APPLICATION_PROPERTIES = 0x74;
const FIRST_BODY_SECTION = 0x75;

/** Message states as `x-opt-message-state` gives them. */
const STATE_ACTIVE = 0;
const STATE_DEFERRED = 1;
const STATE_SCHEDULED = 2;

interface Section {
  /** The section with its descriptor. */
  readonly encoded: Buffer;
  /** The value alone. */
  readonly value: Buffer;
}
interface Sections {
  readonly byCode: ReadonlyMap<number, Section>;
  /** Body and footer. */
  readonly body: Buffer;
}

/** Reads what the queue must know of a sent message, and gives it an id if it has none. */
export function decodeSent(received: Buffer): MessageToSend {
  const sections = splitSections(received);
  const header = listFields(sections.byCode.get(HEADER));
  const properties = listFields(sections.byCode.get(PROPERTIES));
  const annotations = mapEntries(sections.byCode.get(MESSAGE_ANNOTATIONS));
  const ttlMs: unknown = header[2]?.value;
  const scheduledAt: unknown = annotations.find(([key]) => key.value === "x-opt-scheduled-enqueue-time")?.[1]
    .value;
  const facts = {
    ttlMs: typeof ttlMs === "number" ? ttlMs : null,
    scheduledAtMs: scheduledAt instanceof Date ? scheduledAt.getTime() : null,
  };
  const id: unknown = properties[0]?.value;
  if (id !== undefined && id !== null) {
    // A copy: `received` is a window on a socket buffer that would stay in memory with it.
    const messageId = Buffer.isBuffer(id) ? id.toString("hex") : String(id);
    return { ...facts, messageId, content: Buffer.from(received) };
  }
  const messageId = randomUUID();
  const withId = types.wrap_list([types.wrap_string(messageId), ...properties.slice(1)]);
  return {
    ...facts,
    messageId,
    content: joinSections(sections, { [PROPERTIES]: writeSection(PROPERTIES, withId) }),
  };
}

/** The message as a receiver gets it: delivery count, sequence number, lock and, on a dead letter, the reason. */
export function encodeForReceiver(message: QueuedMessage, queueName: string): Buffer {
  const sections = splitSections(message.content);
  const header = types.wrap_list([
    types.wrap_boolean(true),
    types.wrap_ubyte(4),
    message.ttlMs === null ? null : types.wrap_uint(message.ttlMs),
    types.wrap_boolean(false),
    types.wrap_uint(message.deliveryCount),
  ]);
  const state =
    message.state === "scheduled" ? STATE_SCHEDULED : message.deferred ? STATE_DEFERRED : STATE_ACTIVE;
  const annotations: Record<string, Typed> = {
    "x-opt-sequence-number": types.wrap_long(message.sequenceNumber),
    "x-opt-enqueued-time": types.wrap_timestamp(message.enqueuedAtMs),
    "x-opt-message-state": types.wrap_int(state),
  };
  if (message.lock) annotations["x-opt-locked-until"] = types.wrap_timestamp(message.lock.untilMs);
  if (message.deadLetter) annotations["x-opt-deadletter-source"] = types.wrap_string(queueName);

  const replaced: Record<number, Buffer> = {
    [HEADER]: writeSection(HEADER, header),
    [MESSAGE_ANNOTATIONS]: writeSection(
      MESSAGE_ANNOTATIONS,
      mapWith(sections.byCode.get(MESSAGE_ANNOTATIONS), annotations, types.wrap_symbol),
    ),
  };
  if (message.deadLetter) {
    const { reason, description } = message.deadLetter;
    const reasons: Record<string, Typed> = {};
    if (reason !== null) reasons.DeadLetterReason = types.wrap_string(reason);
    if (description !== null) reasons.DeadLetterErrorDescription = types.wrap_string(description);
    const properties = mapWith(sections.byCode.get(APPLICATION_PROPERTIES), reasons, types.wrap_string);
    replaced[APPLICATION_PROPERTIES] = writeSection(APPLICATION_PROPERTIES, properties);
  }
  return joinSections(sections, replaced);
}

/** Cuts an encoded message into its sections without decoding them. */
function splitSections(encoded: Buffer): Sections {
  const byCode = new Map<number, Section>();
  let position = 0;
  while (position < encoded.length) {
    // A section is 0x00, its descriptor (a small ulong, or a ulong of eight bytes), its value.
    const smallDescriptor = encoded[position + 1] === 0x53;
    const valueAt = position + (smallDescriptor ? 3 : 10);
    const code = encoded[valueAt - 1];
    if (encoded[position] !== 0x00 || code === undefined)
      throw new Error("not an AMQP message: no section descriptor");
    if (code >= FIRST_BODY_SECTION) break;
    const end = skipValue(encoded, valueAt);
    byCode.set(code, { encoded: encoded.subarray(position, end), value: encoded.subarray(valueAt, end) });
    position = end;
  }
  return { byCode, body: encoded.subarray(position) };
}

/** The position after the value at `position`; the high half of its type code tells how long it is. */
function skipValue(encoded: Buffer, position: number): number {
  const code = encoded.readUInt8(position);
  const start = position + 1;
  switch (code >> 4) {
    case 0x4:
      return start;
    case 0x5:
      return start + 1;
    case 0x6:
      return start + 2;
    case 0x7:
      return start + 4;
    case 0x8:
      return start + 8;
    case 0x9:
      return start + 16;
    case 0xa:
    case 0xc:
    case 0xe:
      return start + 1 + encoded.readUInt8(start);
    case 0xb:
    case 0xd:
    case 0xf:
      return start + 4 + encoded.readUInt32BE(start);
    default:
      throw new Error(`not an AMQP value: type code 0x${code.toString(16)}`);
  }
}

/** Puts a message together again, with some sections (by code) written anew. Delivery annotations end here. */
function joinSections(sections: Sections, replaced: Readonly<Record<number, Buffer>>): Buffer {
  const parts = [HEADER, MESSAGE_ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES].map(
    (code) => replaced[code] ?? sections.byCode.get(code)?.encoded ?? Buffer.alloc(0),
  );
  return Buffer.concat([...parts, sections.body]);
}

function listFields(section: Section | undefined): readonly Typed[] {
  return section ? readValue(section.value).value : [];
}

function mapEntries(section: Section | undefined): readonly (readonly [key: Typed, value: Typed])[] {
  const flat: Typed[] = section ? readValue(section.value).value : [];
  return flat.flatMap((key, i) => (i % 2 === 0 ? [[key, flat[i + 1]!] as const] : []));
}

/** A new map rather than a changed one: rhea shares the values of empty types between messages. */
function mapWith(
  section: Section | undefined,
  added: Readonly<Record<string, Typed>>,
  wrapKey: (key: string) => Typed,
): Typed {
  const kept = mapEntries(section).filter(([key]) => !(String(key.value) in added));
  const map = types.wrap_map({});
  map.value = [
    ...kept,
    ...Object.entries(added).map(([key, value]) => [wrapKey(key), value] as const),
  ].flat();
  return map;
}

// A lock token is a uuid. The client reads a delivery tag as the bytes of a .NET Guid, whose first three groups are
// little-endian, while $management carries the same token as an AMQP uuid, in the order it is printed.
const GUID_BYTE_ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const;

export function lockTokenToTag(token: string): Buffer {
  const printed = lockTokenToUuid(token);
  return Buffer.from(GUID_BYTE_ORDER.map((i) => printed.readUInt8(i)));
}
export function tagToLockToken(tag: Buffer): string {
  return uuidToLockToken(Buffer.from(GUID_BYTE_ORDER.map((i) => tag.readUInt8(i))));
}
export function lockTokenToUuid(token: string): Buffer {
  return Buffer.from(token.replaceAll("-", ""), "hex");
}
export function uuidToLockToken(uuid: Buffer): string {
  return uuid.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
