/**
 * Everything this broker takes from rhea beyond what its typings declare, in one place.
 *
 * rhea (https://github.com/amqp/rhea) is an AMQP 1.0 container meant for clients and simple servers. A broker must
 * also keep a message byte for byte, settle what its receivers dispose of, and count the credit that is left; for
 * these it reads fields that rhea exposes in JavaScript but not in its `.d.ts`.
 */

import type { Connection, Delivery, Receiver, Sender, Typed } from "rhea";
import rhea from "rhea";

interface CodecInternals {
  Reader: new (encoded: Buffer) => { read(): Typed; position: number };
  Writer: new () => { write(value: Typed): void; toBuffer(): Buffer };
}
const codec = rhea.types as unknown as CodecInternals;

/** Reads the AMQP value that starts at the first byte. */
export function readValue(encoded: Buffer): Typed {
  return new codec.Reader(encoded).read();
}

/** One section of a message: the descriptor `code`, then the value. */
export function writeSection(code: number, value: Typed): Buffer {
  const writer = new codec.Writer();
  writer.write(rhea.types.described_nc(rhea.types.wrap_ulong(code), value));
  return writer.toBuffer();
}

/** An AMQP array; the typings ask for a third argument that only arrays of described values have. */
export function wrapArray(values: readonly number[], typeCode: number): Typed {
  return rhea.types.wrap_array(values, typeCode, undefined);
}

// rhea hands a received message over decoded, and encoding it anew would lose the types of annotations and
// properties (an int may come back a uint). So the decoder, once per process, also remembers what it decoded.
const encodedBytes = new WeakMap<object, Buffer>();
const rheaDecode = rhea.message.decode;
rhea.message.decode = (encoded: Buffer) => {
  const decoded = rheaDecode(encoded);
  encodedBytes.set(decoded, encoded);
  return decoded;
};

/** The bytes of a message as it came from the peer. rhea leaves other formats than 0 undecoded. */
export function receivedBytes(received: object): Buffer {
  if (Buffer.isBuffer(received)) return received;
  const encoded = encodedBytes.get(received);
  if (!encoded) throw new Error("rhea decoded a message before the broker's decoder was in place");
  return encoded;
}

interface OutcomeFactories {
  accepted(): { described(): unknown };
  rejected(fields: { error: AmqpErrorFields }): { described(): unknown };
}
export interface AmqpErrorFields {
  readonly condition: string;
  readonly description: string;
}
const outcomes = rhea.message as unknown as OutcomeFactories;

/** Answers a receiver's disposition: settled as it asked, or rejected with the reason. */
export function settleDelivery(delivery: Delivery, refusal: AmqpErrorFields | null): void {
  const outcome = refusal ? outcomes.rejected({ error: refusal }) : outcomes.accepted();
  delivery.update(true, outcome.described());
  // The receiver settles second and sends no further disposition. Without this mark the delivery would stay in
  // rhea's window for ever, and the session would stop once the window is full.
  (delivery as { remote_settled: boolean }).remote_settled = true;
}

interface SenderInternals {
  readonly credit: number;
  readonly session: { readonly outgoing: { readonly next_pending_delivery: number; available(): number } };
}

/**
 * How many more messages may be sent now. rhea takes credit off only when the transfer is written, a tick later, so
 * deliveries still `unwritten` count against it.
 *
 * @param unwritten deliveries sent on this link before; those written by now are removed from it
 */
export function spareCredit(sender: Sender, unwritten: Set<Delivery>): number {
  const { credit, session } = sender as unknown as SenderInternals;
  for (const delivery of unwritten) {
    if (delivery.id < session.outgoing.next_pending_delivery) unwritten.delete(delivery);
  }
  return Math.max(0, Math.min(credit - unwritten.size, session.outgoing.available()));
}

/** Sets a field of our attach frame, which goes out after the link's open event has been handled. */
export function setAttachField(link: Sender | Receiver, field: string, value: unknown): void {
  (link as unknown as { local: { attach: Record<string, unknown> } }).local.attach[field] = value;
}

/** Sends what is waiting to be written, such as the flow frame of a drained link. */
export function flush(connection: Connection): void {
  (connection as unknown as { _register(): void })._register();
}
