/**
 * One queue with its dead letter queue: its messages and the rules for handing them out. It knows no AMQP: a
 * message's content is bytes.
 *
 *   send ──► ready ──receive──► locked ──complete──► gone
 *    │         ▲ ▲                │ ├──defer──► deferred ──receiveDeferred──► locked
 *    ▼         │ └──abandon, lock lost (delivery count + 1)
 *   scheduled ─┘                  └──dead letter, or too many deliveries──► ready in the dead letter queue
 *
 * Every change is decided first, then written to the journal, then applied; so a queue read from its journal is the
 * queue that wrote it. Locks die with the process: what was locked counts as a lost lock when the journal is read.
 *
 * Rules: https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement
 */
import { randomUUID } from "node:crypto";
import type { Journal } from "./journal.ts";

import type {
  DeadLetterReason,
  MessageToSend,
  QueueCounts,
  QueuedMessage,
  QueueEvent,
  QueueOptions,
  SubQueue,
} from "./model.ts";
import { QueueError } from "./model.ts";

type MutableMessage = { -readonly [Key in keyof QueuedMessage]: QueuedMessage[Key] };

export class Queue {
  readonly name: string;
  readonly options: QueueOptions;
  /** Called for every message that becomes ready, in the middle of a change: receive later, not in the call. */
  onReady: () => void = () => {};
  readonly #clock: () => number;
  readonly #journal: Journal<QueueEvent>;

  readonly #messages = new Map<number, MutableMessage>();
  /** Sequence numbers in rising order, so an abandoned message is the next one again. */
  readonly #ready: Record<SubQueue, number[]> = { active: [], deadLetter: [] };
  readonly #locked = new Map<string, MutableMessage>();
  readonly #scheduled = new Set<MutableMessage>();
  readonly #mayExpire = new Set<MutableMessage>();
  /** Message id → when it was accepted, oldest first. */
  readonly #history = new Map<string, number>();
  #lastSequenceNumber = 0;

  /** Reads the journal and leaves it rewritten. `clock` gives epoch milliseconds. */
  constructor(name: string, options: QueueOptions, journal: Journal<QueueEvent>, clock: () => number) {
    this.name = name;
    this.options = options;
    this.#clock = clock;
    this.#journal = journal;
    for (const event of journal.read()) this.#apply(event);
    this.#forgetHistory();
    for (const message of this.#messages.values()) {
      if (message.state === "locked") for (const event of this.#lockLost(message)) this.#apply(event);
    }
    journal.rewrite(this.#snapshot());
  }

  /**
   * Takes messages in, all or none.
   * @returns their sequence numbers; a duplicate is dropped and has none
   */
  send(messages: readonly MessageToSend[]): readonly (number | null)[] {
    const now = this.#clock();
    const events: QueueEvent[] = [];
    const idsOfThisCall = new Set<string>();
    const sequenceNumbers = messages.map((message) => {
      if (this.#isDuplicate(message.messageId, now) || idsOfThisCall.has(message.messageId)) return null;
      if (this.options.duplicateDetectionWindowMs > 0) idsOfThisCall.add(message.messageId);
      const ttlMs = Math.min(message.ttlMs ?? Infinity, this.options.defaultTtlMs ?? Infinity);
      const seq = this.#lastSequenceNumber + events.length + 1;
      events.push({
        op: "send",
        seq,
        id: message.messageId,
        at: now,
        content: message.content.toString("base64"),
        ttlMs: ttlMs === Infinity ? null : ttlMs,
        scheduledAtMs:
          message.scheduledAtMs !== null && message.scheduledAtMs > now ? message.scheduledAtMs : null,
      });
      return seq;
    });
    this.#commit(events);
    return sequenceNumbers;
  }

  /** Locks and hands out at most so many ready messages, the oldest first. */
  receive(from: SubQueue, atMost: number): readonly QueuedMessage[] {
    const messages = this.#nextReady(from, atMost);
    this.#lock(messages);
    return messages;
  }

  /** Hands out ready messages and forgets them. */
  receiveAndDelete(from: SubQueue, atMost: number): readonly QueuedMessage[] {
    const messages = this.#nextReady(from, atMost);
    this.#remove(messages);
    return messages;
  }

  /** @throws QueueError "message-not-found" when one of them is not deferred; then none is received. */
  receiveDeferred(
    from: SubQueue,
    sequenceNumbers: readonly number[],
    then: "lock" | "delete",
  ): readonly QueuedMessage[] {
    const messages = sequenceNumbers.map((seq) => this.#expect(seq, from, "deferred"));
    if (then === "lock") this.#lock(messages);
    else this.#remove(messages);
    return messages;
  }

  /** @returns until when the lock holds now. @throws QueueError "lock-lost" */
  renewLock(token: string): number {
    const message = this.#holder(token);
    const untilMs = this.#clock() + this.options.lockDurationMs;
    message.lock = { token, untilMs };
    return untilMs;
  }

  /** @throws QueueError "lock-lost" */
  complete(token: string): void {
    this.#remove([this.#holder(token)]);
  }

  /** Gives a message back before its lock ends. @throws QueueError "lock-lost" */
  abandon(token: string): void {
    this.#commit(this.#lockLost(this.#holder(token)));
  }

  /** Sets a message aside; from now on it is received by its sequence number. @throws QueueError "lock-lost" */
  defer(token: string): void {
    this.#commit([{ op: "defer", seq: this.#holder(token).sequenceNumber }]);
  }

  /** @throws QueueError "lock-lost"; "not-allowed" for what is a dead letter already */
  deadLetter(token: string, reason: DeadLetterReason): void {
    const message = this.#holder(token);
    if (message.deadLetter) throw new QueueError("not-allowed", "The message is a dead letter already.");
    this.#commit([{ op: "deadLetter", seq: message.sequenceNumber, ...reason }]);
  }

  /** @throws QueueError "message-not-found" when one of them is not scheduled; then none is cancelled. */
  cancelScheduled(sequenceNumbers: readonly number[]): void {
    this.#remove(sequenceNumbers.map((seq) => this.#expect(seq, "active", "scheduled")));
  }

  /** Shows messages in any state, in sequence order, without locking them. */
  peek(from: SubQueue, fromSequenceNumber: number, atMost: number): readonly QueuedMessage[] {
    const found = [...this.#messages.values()].filter(
      (message) => message.sequenceNumber >= fromSequenceNumber && subQueueOf(message) === from,
    );
    return found.sort((a, b) => a.sequenceNumber - b.sequenceNumber).slice(0, atMost);
  }

  counts(): QueueCounts {
    const messages = [...this.#messages.values()];
    const count = (state: QueuedMessage["state"]): number =>
      messages.filter((message) => message.state === state && !message.deadLetter).length;
    return {
      active: this.#ready.active.length,
      locked: count("locked"),
      scheduled: this.#scheduled.size,
      deferred: count("deferred"),
      deadLetters: messages.filter((message) => message.deadLetter).length,
    };
  }

  /** Does what has come due: locks that ended, scheduled messages, messages that expired, ids to forget. */
  sweep(): void {
    const now = this.#clock();
    const events: QueueEvent[] = [];
    for (const message of this.#locked.values()) {
      if (message.lock!.untilMs <= now) events.push(...this.#lockLost(message));
    }
    for (const message of this.#scheduled) {
      if (message.scheduledAtMs! <= now) events.push({ op: "enqueue", seq: message.sequenceNumber, at: now });
    }
    for (const message of this.#mayExpire) {
      const waiting = message.state === "ready" || message.state === "deferred";
      if (waiting && this.#isExpired(message, now))
        events.push({ op: "remove", seq: message.sequenceNumber });
    }
    this.#forgetHistory();
    this.#commit(events);
  }

  close(): void {
    this.#journal.close();
  }

  #isDuplicate(id: string, now: number): boolean {
    const acceptedAt = this.#history.get(id);
    return acceptedAt !== undefined && acceptedAt + this.options.duplicateDetectionWindowMs > now;
  }

  #forgetHistory(): void {
    const now = this.#clock();
    for (const id of this.#history.keys()) {
      if (this.#isDuplicate(id, now)) return;
      this.#history.delete(id);
    }
  }

  /** Dead letters do not expire. */
  #isExpired(message: QueuedMessage, now: number): boolean {
    return message.ttlMs !== null && !message.deadLetter && message.enqueuedAtMs + message.ttlMs <= now;
  }

  #nextReady(from: SubQueue, atMost: number): MutableMessage[] {
    const now = this.#clock();
    const next: MutableMessage[] = [];
    for (const seq of this.#ready[from]) {
      if (next.length >= atMost) break;
      const message = this.#messages.get(seq)!;
      // The sweep comes only now and then; until then an expired message stays, but nobody gets it.
      if (!this.#isExpired(message, now)) next.push(message);
    }
    return next;
  }

  #lock(messages: readonly MutableMessage[]): void {
    this.#commit(messages.map((message) => ({ op: "lock", seq: message.sequenceNumber })));
    const untilMs = this.#clock() + this.options.lockDurationMs;
    for (const message of messages) {
      message.lock = { token: randomUUID(), untilMs };
      this.#locked.set(message.lock.token, message);
    }
  }

  #remove(messages: readonly MutableMessage[]): void {
    this.#commit(messages.map((message) => ({ op: "remove", seq: message.sequenceNumber })));
  }

  /** One more delivery that was not completed; the last one makes a dead letter of the message. */
  #lockLost(message: QueuedMessage): readonly QueueEvent[] {
    const seq = message.sequenceNumber;
    const { maxDeliveryCount } = this.options;
    if (message.deadLetter || message.deliveryCount + 1 < maxDeliveryCount) return [{ op: "unlock", seq }];
    const description = `Message could not be consumed after ${maxDeliveryCount} delivery attempts.`;
    return [
      { op: "unlock", seq },
      { op: "deadLetter", seq, reason: "MaxDeliveryCountExceeded", description },
    ];
  }

  #holder(token: string): MutableMessage {
    const message = this.#locked.get(token);
    if (message?.lock && message.lock.untilMs > this.#clock()) return message;
    throw new QueueError(
      "lock-lost",
      "The lock supplied is invalid. Either the lock expired, or the message has already been removed from the queue.",
    );
  }

  #expect(seq: number, from: SubQueue, state: QueuedMessage["state"]): MutableMessage {
    const message = this.#messages.get(seq);
    if (message && message.state === state && subQueueOf(message) === from) return message;
    throw new QueueError("message-not-found", `There is no ${state} message ${seq} in ${this.name}.`);
  }

  #commit(events: readonly QueueEvent[]): void {
    if (events.length === 0) return;
    this.#journal.append(events);
    for (const event of events) this.#apply(event);
    if (this.#journal.outgrown) this.#journal.rewrite(this.#snapshot());
  }

  #apply(event: QueueEvent): void {
    switch (event.op) {
      case "sequence":
        this.#lastSequenceNumber = Math.max(this.#lastSequenceNumber, event.last);
        return;
      case "remember":
        this.#remember(event.id, event.at);
        return;
      case "send":
        this.#applySend(event);
        return;
    }
    const message = this.#messages.get(event.seq);
    if (!message)
      throw new Error(`The journal of ${this.name} says ${event.op} of an unknown message ${event.seq}.`);
    this.#takeOut(message);
    switch (event.op) {
      case "enqueue":
        message.enqueuedAtMs = event.at;
        message.state = "ready";
        break;
      case "lock":
        message.state = "locked";
        break;
      case "unlock":
        message.deliveryCount += 1;
        message.state = message.deferred ? "deferred" : "ready";
        break;
      case "defer":
        message.deferred = true;
        message.state = "deferred";
        break;
      case "deadLetter":
        message.deadLetter = { reason: event.reason, description: event.description };
        message.deferred = false;
        message.state = "ready";
        break;
      case "remove":
        this.#messages.delete(event.seq);
        this.#mayExpire.delete(message);
        return;
    }
    this.#putIn(message);
  }

  #applySend(event: Extract<QueueEvent, { op: "send" }>): void {
    const message: MutableMessage = {
      sequenceNumber: event.seq,
      messageId: event.id,
      content: Buffer.from(event.content, "base64"),
      ttlMs: event.ttlMs,
      scheduledAtMs: event.scheduledAtMs,
      acceptedAtMs: event.at,
      enqueuedAtMs: event.at,
      deliveryCount: event.deliveryCount ?? 0,
      state: event.scheduledAtMs === null ? "ready" : "scheduled",
      deferred: false,
      deadLetter: null,
      lock: null,
    };
    this.#lastSequenceNumber = Math.max(this.#lastSequenceNumber, event.seq);
    this.#messages.set(event.seq, message);
    if (message.ttlMs !== null) this.#mayExpire.add(message);
    this.#remember(event.id, event.at);
    this.#putIn(message);
  }

  #remember(id: string, at: number): void {
    if (this.options.duplicateDetectionWindowMs === 0) return;
    this.#history.delete(id); // Set anew, it stands last again.
    this.#history.set(id, at);
  }

  /** Takes a message out of the collection of its state. */
  #takeOut(message: MutableMessage): void {
    if (message.state === "ready") {
      const ready = this.#ready[subQueueOf(message)];
      ready.splice(positionIn(ready, message.sequenceNumber), 1);
    } else if (message.state === "scheduled") {
      this.#scheduled.delete(message);
    } else if (message.lock) {
      this.#locked.delete(message.lock.token);
      message.lock = null;
    }
  }

  #putIn(message: MutableMessage): void {
    if (message.state === "ready") {
      const ready = this.#ready[subQueueOf(message)];
      ready.splice(positionIn(ready, message.sequenceNumber), 0, message.sequenceNumber);
      this.onReady();
    } else if (message.state === "scheduled") {
      this.#scheduled.add(message);
    }
  }

  /** The shortest journal that leads to this state. */
  *#snapshot(): Generator<QueueEvent> {
    yield { op: "sequence", last: this.#lastSequenceNumber };
    for (const message of this.#messages.values()) {
      const seq = message.sequenceNumber;
      yield {
        op: "send",
        seq,
        id: message.messageId,
        at: message.acceptedAtMs,
        content: message.content.toString("base64"),
        ttlMs: message.ttlMs,
        scheduledAtMs: message.scheduledAtMs,
        deliveryCount: message.deliveryCount,
      };
      if (message.scheduledAtMs !== null && message.state !== "scheduled") {
        yield { op: "enqueue", seq, at: message.enqueuedAtMs };
      }
      if (message.deadLetter) yield { op: "deadLetter", seq, ...message.deadLetter };
      if (message.deferred) yield { op: "defer", seq };
      if (message.state === "locked") yield { op: "lock", seq };
    }
    for (const [id, at] of this.#history) yield { op: "remember", id, at };
  }
}

function subQueueOf(message: QueuedMessage): SubQueue {
  return message.deadLetter ? "deadLetter" : "active";
}

/** Where `value` stands, or would stand, in a rising list. */
function positionIn(rising: readonly number[], value: number): number {
  let low = 0;
  let high = rising.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (rising[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
