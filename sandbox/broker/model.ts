/** The nouns of a queue, and what its journal says. */

export interface QueueOptions {
  /** How long a received message is kept from other receivers unless its lock is renewed. */
  readonly lockDurationMs: number;
  /** After so many deliveries that were not completed, a message is a dead letter. */
  readonly maxDeliveryCount: number;
  /** How long the id of a message keeps later messages of that id out; 0 lets them in. */
  readonly duplicateDetectionWindowMs: number;
  /** How long a message waits to be received; a message's own time to live counts when it is shorter. */
  readonly defaultTtlMs?: number | undefined;
}

export interface MessageToSend {
  readonly messageId: string;
  readonly content: Buffer;
  readonly ttlMs: number | null;
  readonly scheduledAtMs: number | null;
}

/** A queue's two ends to receive from. */
export type SubQueue = "active" | "deadLetter";

export interface QueuedMessage {
  readonly sequenceNumber: number;
  readonly messageId: string;
  readonly content: Buffer;
  readonly ttlMs: number | null;
  readonly scheduledAtMs: number | null;
  readonly acceptedAtMs: number;
  /** When it became available: when accepted or, for a scheduled message, when due. */
  readonly enqueuedAtMs: number;
  readonly deliveryCount: number;
  readonly state: "scheduled" | "ready" | "locked" | "deferred";
  /** A deferred message goes back to deferred, not to ready, when its lock is lost. */
  readonly deferred: boolean;
  readonly deadLetter: DeadLetterReason | null;
  readonly lock: { readonly token: string; readonly untilMs: number } | null;
}

export interface DeadLetterReason {
  readonly reason: string | null;
  readonly description: string | null;
}

export interface QueueCounts {
  /** Ready to be received, dead letters apart. */
  readonly active: number;
  readonly locked: number;
  readonly scheduled: number;
  readonly deferred: number;
  /** All dead letters, locked ones included. */
  readonly deadLetters: number;
}

/** What a journal line says. `seq` is the sequence number; times are epoch milliseconds. */
export type QueueEvent =
  | {
      readonly op: "send";
      readonly seq: number;
      readonly id: string;
      readonly at: number;
      /** Base64. */
      readonly content: string;
      readonly ttlMs: number | null;
      readonly scheduledAtMs: number | null;
      /** Only in a rewritten journal, which leaves out the deliveries themselves. */
      readonly deliveryCount?: number;
    }
  | { readonly op: "enqueue"; readonly seq: number; readonly at: number }
  | { readonly op: "lock" | "unlock" | "defer" | "remove"; readonly seq: number }
  | ({ readonly op: "deadLetter"; readonly seq: number } & DeadLetterReason)
  // The last two only stand in a rewritten journal: ids of messages that are gone, the number to go on from.
  | { readonly op: "remember"; readonly id: string; readonly at: number }
  | { readonly op: "sequence"; readonly last: number };

/** What a queue in Azure has unless told otherwise. */
export const DEFAULT_QUEUE_OPTIONS: QueueOptions = {
  lockDurationMs: 60_000,
  maxDeliveryCount: 10,
  duplicateDetectionWindowMs: 0,
};

/** `lock-lost`: the lock ended or its message is gone. The others: no such message, no such thing to do with it. */
export class QueueError extends Error {
  readonly kind: "lock-lost" | "message-not-found" | "not-allowed";
  constructor(kind: QueueError["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}
