/**
 * Service Bus operations that are requests and replies on `<queue>/$management` rather than transfers.
 *
 * Operations and their fields:
 * https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response
 */

import type { Typed } from "rhea";
import rhea from "rhea";
import type { QueuedMessage, SubQueue } from "./model.ts";
import type { Queue } from "./queue.ts";
import { wrapArray } from "./rheaInternals.ts";
import { decodeSent, encodeForReceiver, lockTokenToUuid, uuidToLockToken } from "./sections.ts";

const { types } = rhea;

const AMQP_LONG = 0x81;
const AMQP_TIMESTAMP = 0x83;
/** `receiver-settle-mode` of a peek-lock receiver. */
const SETTLE_SECOND = 1;

/** The request's body, a map, as rhea unwraps it: uuids and large longs are Buffers. */
export type RequestBody = Readonly<Record<string, unknown>>;

/**
 * Carries out one operation.
 * @returns the reply's body; null for "no content"
 * @throws QueueError when the queue refuses it
 */
export function manage(queue: Queue, from: SubQueue, operation: string, body: RequestBody): object | null {
  switch (operation) {
    case "com.microsoft:renew-lock":
      return {
        expirations: wrapArray(
          lockTokens(body).map((token) => queue.renewLock(token)),
          AMQP_TIMESTAMP,
        ),
      };
    case "com.microsoft:update-disposition":
      for (const token of lockTokens(body)) updateDisposition(queue, token, body);
      return {};
    case "com.microsoft:schedule-message": {
      const messages = (body.messages as readonly { message: Buffer }[]).map(({ message }) =>
        decodeSent(message),
      );
      const sequenceNumbers = queue.send(messages).map((seq) => seq ?? 0); // A dropped duplicate has no number.
      return { "sequence-numbers": wrapArray(sequenceNumbers, AMQP_LONG) };
    }
    case "com.microsoft:cancel-scheduled-message":
      queue.cancelScheduled(sequenceNumbersOf(body));
      return {};
    case "com.microsoft:peek-message": {
      const first = toNumber(body["from-sequence-number"]);
      const messages = queue.peek(from, first, toNumber(body["message-count"]));
      if (messages.length === 0) return null;
      // Without lock tokens: who peeks holds nothing.
      const entries = messages.map((message) => ({ message: encodeForReceiver(message, queue.name) }));
      return { messages: entries };
    }
    case "com.microsoft:receive-by-sequence-number": {
      const then = body["receiver-settle-mode"] === SETTLE_SECOND ? "lock" : "delete";
      const messages = queue.receiveDeferred(from, sequenceNumbersOf(body), then);
      return { messages: messages.map((message) => messageEntry(message, queue)) };
    }
    default:
      throw new Error(`This broker does not know the operation ${operation}.`);
  }
}

function updateDisposition(queue: Queue, token: string, body: RequestBody): void {
  switch (body["disposition-status"]) {
    case "completed":
      queue.complete(token);
      return;
    case "abandoned":
      queue.abandon(token);
      return;
    case "defered": // Spelt so in the protocol.
      queue.defer(token);
      return;
    case "suspended": {
      const reason = textOrNull(body["deadletter-reason"]);
      queue.deadLetter(token, { reason, description: textOrNull(body["deadletter-description"]) });
      return;
    }
    default:
      throw new Error(`This broker does not know the disposition ${body["disposition-status"]}.`);
  }
}

/** A message received through a reply has its lock token beside it, for want of a delivery tag. */
function messageEntry(message: QueuedMessage, queue: Queue): Typed {
  const entry: Record<string, unknown> = { message: encodeForReceiver(message, queue.name) };
  if (message.lock) entry["lock-token"] = types.wrap_uuid(lockTokenToUuid(message.lock.token));
  return types.wrap_map(entry);
}

export function textOrNull(value: unknown): string | null {
  return value === undefined || value === null ? null : String(value);
}

function lockTokens(body: RequestBody): readonly string[] {
  return (body["lock-tokens"] as readonly Buffer[]).map(uuidToLockToken);
}

function sequenceNumbersOf(body: RequestBody): readonly number[] {
  return (body["sequence-numbers"] as readonly unknown[]).map(toNumber);
}

function toNumber(value: unknown): number {
  return Buffer.isBuffer(value) ? Number(value.readBigInt64BE()) : Number(value);
}
