import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FileJournal, memoryJournal } from "../../sandbox/broker/journal.ts";
import type { MessageToSend, QueueEvent, QueueOptions } from "../../sandbox/broker/model.ts";
import { QueueError } from "../../sandbox/broker/model.ts";
import { Queue } from "../../sandbox/broker/queue.ts";
import { lockTokenToTag, tagToLockToken } from "../../sandbox/broker/sections.ts";

const options: QueueOptions = {
  lockDurationMs: 30_000,
  maxDeliveryCount: 3,
  duplicateDetectionWindowMs: 600_000,
};

function message(messageId: string, more: Partial<MessageToSend> = {}): MessageToSend {
  return { messageId, content: Buffer.from(messageId), ttlMs: null, scheduledAtMs: null, ...more };
}

let now = 0;
const clock = () => now;
let folder: string;
beforeEach(() => {
  now = 1_700_000_000_000;
  folder = mkdtempSync(join(tmpdir(), "journal-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const openQueue = (more: Partial<QueueOptions> = {}, compactBeyondBytes?: number) => {
  const journal = new FileJournal<QueueEvent>(join(folder, "q.journal"), compactBeyondBytes);
  return new Queue("q", { ...options, ...more }, journal, clock);
};
const lockOf = (queue: Queue) => queue.receive("active", 1)[0]!.lock!.token;

describe("a queue", () => {
  test("keeps an id out for the duplicate detection window and no longer", () => {
    const queue = new Queue("q", options, memoryJournal(), clock);
    expect(queue.send([message("a"), message("a"), message("b")])).toEqual([1, null, 2]);
    now += options.duplicateDetectionWindowMs - 1;
    expect(queue.send([message("a")])).toEqual([null]);
    now += 1;
    expect(queue.send([message("a")])).toEqual([3]);
    expect(queue.send([message("a")])).toEqual([null]);
  });

  test("gives an expired message to nobody", () => {
    const queue = new Queue("q", { ...options, defaultTtlMs: 1000 }, memoryJournal(), clock);
    queue.send([message("short", { ttlMs: 10 }), message("long", { ttlMs: 99_999 }), message("default")]);
    now += 10;
    expect(queue.receive("active", 1).map((each) => [each.messageId, each.ttlMs])).toEqual([["long", 1000]]);
    queue.sweep();
    expect(queue.counts()).toMatchObject({ active: 1, locked: 1 });
    now += 990;
    expect(queue.receive("active", 1)).toEqual([]);
  });

  test("refuses a lock from the millisecond it ends", () => {
    const queue = new Queue("q", options, memoryJournal(), clock);
    queue.send([message("a")]);
    const token = lockOf(queue);
    now += options.lockDurationMs;
    for (const settle of [
      () => queue.complete(token),
      () => queue.abandon(token),
      () => queue.defer(token),
      () => queue.renewLock(token),
    ]) {
      expect(settle).toThrow(expect.objectContaining({ kind: "lock-lost" }));
    }
    queue.sweep();
    expect(queue.receive("active", 1)[0]).toMatchObject({ messageId: "a", deliveryCount: 1 });
  });

  test("makes no dead letter of a dead letter", () => {
    const queue = new Queue("q", options, memoryJournal(), clock);
    queue.send([message("a")]);
    queue.deadLetter(lockOf(queue), { reason: "bad", description: null });
    const [dead] = queue.receive("deadLetter", 1);
    expect(() => queue.deadLetter(dead!.lock!.token, { reason: "worse", description: null })).toThrow(
      QueueError,
    );
    expect(queue.counts().deadLetters).toBe(1);
  });
});

describe("a queue's journal", () => {
  test("brings back what was written, without a torn last line", () => {
    openQueue().send([message("a"), message("b")]);
    appendFileSync(join(folder, "q.journal"), '[{"op":"remove","seq":1},{"op":"rem');
    const queue = openQueue();
    expect(queue.peek("active", 0, 9).map((each) => [each.sequenceNumber, each.content.toString()])).toEqual([
      [1, "a"],
      [2, "b"],
    ]);
    expect(queue.send([message("a"), message("c")])).toEqual([null, 3]);
  });

  test("never gives a sequence number twice, even when its message is gone", () => {
    const queue = openQueue();
    queue.send([message("a"), message("b")]);
    queue.receiveAndDelete("active", 2);
    queue.close();
    openQueue().close(); // Rewrites the journal of an empty queue.
    expect(openQueue().send([message("c")])).toEqual([3]);
  });

  test("names the line that is damaged in its middle", () => {
    writeFileSync(join(folder, "q.journal"), '[{"op":"sequence","last":1}]\nnonsense\n[]\n');
    expect(() => openQueue()).toThrow("q.journal:2 is not a journal line");
  });

  test("stays small while messages come and go", () => {
    const queue = openQueue({ duplicateDetectionWindowMs: 0 }, 10_000);
    queue.send([message("stays")]);
    const held = lockOf(queue);
    let largest = 0;
    for (let n = 0; n < 500; n++) {
      queue.send([message(`m${n}`, { content: Buffer.alloc(100) })]);
      queue.complete(lockOf(queue));
      largest = Math.max(largest, statSync(join(folder, "q.journal")).size);
    }
    expect(largest).toBeLessThan(11_000);
    queue.complete(held); // A rewrite keeps the locks of the living.
    queue.close();
    expect(openQueue({ duplicateDetectionWindowMs: 0 }).counts()).toMatchObject({ active: 0, locked: 0 });
    expect(readFileSync(join(folder, "q.journal"), "utf8")).toBe('[{"op":"sequence","last":501}]\n');
  });

  test("leads to the same queue wherever the process dies, whatever was done", () => {
    const action = fc.constantFrom(
      "send",
      "schedule",
      "receive",
      "complete",
      "abandon",
      "deadLetter",
      "defer",
      "wait",
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        rmSync(join(folder, "q.journal"), { force: true });
        const queue = openQueue({}, 2000);
        const held: string[] = [];
        actions.forEach((each, n) => {
          if (each === "send") queue.send([message(`m${n}`), message(`m${n % 7}`)]);
          else if (each === "schedule") queue.send([message(`m${n}`, { scheduledAtMs: now + 20_000 })]);
          else if (each === "receive")
            held.push(...queue.receive("active", 2).map(({ lock }) => lock!.token));
          else if (each === "wait") {
            now += 10_000;
            queue.sweep();
          } else {
            const token = held.shift();
            try {
              if (token === undefined) return;
              if (each === "deadLetter") queue.deadLetter(token, { reason: "bad", description: "because" });
              else queue[each](token);
            } catch (error) {
              expect(error).toMatchObject({ kind: "lock-lost" });
            }
          }
        });
        // What is locked here is a lost lock there.
        const reopened = openQueue();
        reopened.close();
        const expected = snapshotOf(queue);
        for (const each of expected) {
          if (each.state !== "locked") continue;
          each.deliveryCount += 1;
          each.state = each.deferred ? "deferred" : "ready";
          if (each.deliveryCount < options.maxDeliveryCount) continue;
          each.state = "ready";
          each.dead = "MaxDeliveryCountExceeded";
        }
        expect(snapshotOf(reopened)).toEqual(expected);
        queue.close();
      }),
      { numRuns: 60 },
    );
  });
});

function snapshotOf(queue: Queue) {
  const all = [...queue.peek("active", 0, 999), ...queue.peek("deadLetter", 0, 999)];
  return all
    .sort((a, b) => a.sequenceNumber - b.sequenceNumber)
    .map(({ messageId, sequenceNumber, enqueuedAtMs, deliveryCount, state, deferred, deadLetter }) => {
      const dead = deadLetter?.reason ?? null;
      return { messageId, sequenceNumber, enqueuedAtMs, deliveryCount, state, deferred, dead };
    });
}

test("a lock token survives the way through a delivery tag", () => {
  const token = "00112233-4455-6677-8899-aabbccddeeff";
  expect(lockTokenToTag(token).toString("hex")).toBe("33221100554477668899aabbccddeeff");
  expect(tagToLockToken(lockTokenToTag(token))).toBe(token);
});
