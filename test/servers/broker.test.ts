import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  ServiceBusClient,
  type ServiceBusMessage,
  type ServiceBusReceivedMessage,
  type ServiceBusReceiver,
} from "@azure/service-bus";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ServiceBusBroker } from "../../sandbox/broker/broker.ts";

/** A receiver that lets locks end: the client would otherwise renew them for five minutes. */
function receiverOf(client: ServiceBusClient, queue: string): ServiceBusReceiver {
  return client.createReceiver(queue, { maxAutoLockRenewalDurationInMs: 0 });
}
function deadLettersOf(client: ServiceBusClient, queue: string): ServiceBusReceiver {
  return client.createReceiver(queue, { subQueueType: "deadLetter", maxAutoLockRenewalDurationInMs: 0 });
}
async function receiveOne(
  receiver: ServiceBusReceiver,
  maxWaitTimeInMs = 12_000,
): Promise<ServiceBusReceivedMessage> {
  const [message] = await receiver.receiveMessages(1, { maxWaitTimeInMs });
  if (!message) throw new Error(`nothing came from ${receiver.entityPath} within ${maxWaitTimeInMs} ms`);
  return message;
}
/** Receives until nothing comes any more. */
async function receiveAll(receiver: ServiceBusReceiver): Promise<ServiceBusReceivedMessage[]> {
  const all: ServiceBusReceivedMessage[] = [];
  for (;;) {
    const some = await receiver.receiveMessages(100, { maxWaitTimeInMs: 300 });
    if (some.length === 0) return all;
    all.push(...some);
  }
}
const send = (client: ServiceBusClient, queue: string, messages: ServiceBusMessage | ServiceBusMessage[]) =>
  client.createSender(queue).sendMessages(messages);
const ids = (messages: readonly ServiceBusReceivedMessage[]) => messages.map((message) => message.messageId);

describe("the broker, met by the Service Bus client", () => {
  let broker: ServiceBusBroker;
  let client: ServiceBusClient;
  const problems: Error[] = [];
  // The broker's clock can be put forward, so that no test waits for a lock or a window to end.
  let skippedMs = 0;
  const now = () => Date.now() + skippedMs;
  const skip = (ms: number) => {
    skippedMs += ms;
  };

  beforeAll(async () => {
    broker = await ServiceBusBroker.start({
      queues: {
        "import-steps": {},
        settling: {},
        deleting: {},
        renewing: {},
        expiring: {},
        failing: { maxDeliveryCount: 3 },
        deferring: {},
        scheduling: {},
        peeking: {},
        "no-duplicates": { duplicateDetectionWindowMs: 600_000 },
        duplicates: {},
        ageing: { defaultTtlMs: 60_000 },
        limits: {},
        sharing: {},
        closing: {},
      },
      clock: now,
      onProblem: (problem) => problems.push(problem),
    });
    client = new ServiceBusClient(broker.connectionString);
  });
  afterAll(async () => {
    await client.close();
    await broker.close();
    expect(problems).toEqual([]);
  });

  test("a batch arrives in order, with bodies, ids and typed properties as they were sent", async () => {
    const sender = client.createSender("import-steps");
    const batch = await sender.createMessageBatch();
    expect(batch.maxSizeInBytes).toBe(256 * 1024);
    for (let i = 0; i < 5; i++) {
      const applicationProperties = { runId: "r1", step: i, share: 0.5, last: i === 4 };
      expect(
        batch.tryAddMessage({ body: { i, name: "Zoë" }, messageId: `m${i}`, applicationProperties }),
      ).toBe(true);
    }
    await sender.sendMessages(batch);
    expect(broker.queue("import-steps").active).toBe(5);

    const receiver = receiverOf(client, "import-steps");
    const received = await receiver.receiveMessages(5, { maxWaitTimeInMs: 2000 });
    expect(ids(received)).toEqual(["m0", "m1", "m2", "m3", "m4"]);
    const last = received[4]!;
    expect(last.body).toEqual({ i: 4, name: "Zoë" });
    expect(last.applicationProperties).toEqual({ runId: "r1", step: 4, share: 0.5, last: true });
    expect(last.deliveryCount).toBe(0);
    expect(last.state).toBe("active");
    expect(last.sequenceNumber?.toNumber()).toBe(5);
    expect(Math.abs(last.lockedUntilUtc!.getTime() - now() - 60_000)).toBeLessThan(5000);
    expect(broker.queue("import-steps")).toMatchObject({ active: 0, locked: 5 });
    for (const message of received) await receiver.completeMessage(message);
    expect(broker.queue("import-steps")).toMatchObject({ active: 0, locked: 0 });
  });

  test("bodies of every AMQP kind, and a message without an id, come through", async () => {
    const sender = client.createSender("deleting");
    await sender.sendMessages({ body: "plain text" });
    await sender.sendMessages({ body: Buffer.from([0, 255, 7]) });
    await sender.sendMessages({ bodyType: "value", body: { a: 1 } } as ServiceBusMessage);
    await sender.sendMessages({ bodyType: "sequence", body: [1, "two"] } as ServiceBusMessage);
    await sender.sendMessages({ body: "x".repeat(200_000) });
    const receiver = client.createReceiver("deleting", { receiveMode: "receiveAndDelete" });
    const received = await receiveAll(receiver);
    expect(received.slice(0, 4).map((message) => message.body)).toEqual([
      "plain text",
      Buffer.from([0, 255, 7]),
      { a: 1 },
      [1, "two"],
    ]);
    expect(received[4]!.body).toHaveLength(200_000);
    expect(new Set(ids(received)).size).toBe(5);
    expect(broker.queue("deleting")).toMatchObject({ active: 0, locked: 0 });
    await receiver.close();
  });

  test("an abandoned message is the next one again, with one delivery more", async () => {
    await send(client, "settling", [
      { body: 1, messageId: "a" },
      { body: 2, messageId: "b" },
    ]);
    const receiver = receiverOf(client, "settling");
    await receiver.abandonMessage(await receiveOne(receiver));
    const again = await receiver.receiveMessages(2, { maxWaitTimeInMs: 2000 });
    expect(again.map((message) => [message.messageId, message.deliveryCount])).toEqual([
      ["a", 1],
      ["b", 0],
    ]);
    for (const message of again) await receiver.completeMessage(message);
  });

  test("a renewed lock holds longer than its duration", async () => {
    await send(client, "renewing", { body: 1 });
    const receiver = receiverOf(client, "renewing");
    const message = await receiveOne(receiver);
    const before = message.lockedUntilUtc!.getTime();
    skip(50_000);
    expect((await receiver.renewMessageLock(message)).getTime()).toBeGreaterThanOrEqual(before + 50_000);
    skip(50_000);
    await receiver.completeMessage(message);
    await expect(receiver.renewMessageLock(message)).rejects.toMatchObject({ code: "MessageLockLost" });
  });

  test("when a lock ends, its holder can no longer complete and the message comes again", async () => {
    await send(client, "expiring", { body: 1, messageId: "slow" });
    const receiver = receiverOf(client, "expiring");
    const first = await receiveOne(receiver);
    skip(60_000);
    await expect(receiver.completeMessage(first)).rejects.toMatchObject({ code: "MessageLockLost" });
    const second = await receiveOne(receiver);
    expect([second.messageId, second.deliveryCount]).toEqual(["slow", 1]);
    await receiver.completeMessage(second);
  });

  test("a dead letter keeps its message and says why; too many deliveries make one", async () => {
    const applicationProperties = { runId: "r1", n: 7 };
    await send(client, "failing", [
      { body: { step: 1 }, messageId: "bad", applicationProperties },
      { body: 2, messageId: "poison" },
    ]);
    const receiver = receiverOf(client, "failing");
    const reason = { deadLetterReason: "bad", deadLetterErrorDescription: "because" };
    await receiver.deadLetterMessage(await receiveOne(receiver), reason);
    for (let delivery = 0; delivery < 3; delivery++) {
      const message = await receiveOne(receiver);
      expect([message.messageId, message.deliveryCount]).toEqual(["poison", delivery]);
      await receiver.abandonMessage(message);
    }
    expect(broker.queue("failing")).toMatchObject({ active: 0, locked: 0, deadLetters: 2 });

    const deadLetters = deadLettersOf(client, "failing");
    expect(ids(await deadLetters.peekMessages(10))).toEqual(["bad", "poison"]);
    const bad = await receiveOne(deadLetters);
    expect(bad).toMatchObject({
      body: { step: 1 },
      messageId: "bad",
      deadLetterSource: "failing",
      ...reason,
    });
    expect(bad.applicationProperties).toMatchObject(applicationProperties);
    const poison = await receiveOne(deadLetters);
    expect(poison.deadLetterReason).toBe("MaxDeliveryCountExceeded");
    await deadLetters.completeMessage(bad);
    await deadLetters.abandonMessage(poison); // A dead letter has no limit of deliveries.
    await deadLetters.completeMessage(await receiveOne(deadLetters));
    expect(broker.queue("failing").deadLetters).toBe(0);
  });

  test("a deferred message is received by its number only, and stays deferred when its lock is lost", async () => {
    await send(client, "deferring", { body: "later", messageId: "d" });
    const receiver = receiverOf(client, "deferring");
    const message = await receiveOne(receiver);
    const number = message.sequenceNumber!;
    await receiver.deferMessage(message);
    expect(broker.queue("deferring")).toMatchObject({ active: 0, deferred: 1 });
    expect(await receiver.receiveMessages(1, { maxWaitTimeInMs: 200 })).toEqual([]);

    const [taken] = await receiver.receiveDeferredMessages([number]);
    expect(taken).toMatchObject({ body: "later", state: "deferred" });
    await expect(receiver.receiveDeferredMessages([number])).rejects.toMatchObject({
      code: "MessageNotFound",
    });
    skip(60_000);
    await expect.poll(() => broker.queue("deferring")).toMatchObject({ active: 0, deferred: 1, locked: 0 });
    const [again] = await receiver.receiveDeferredMessages([number]);
    expect(again!.deliveryCount).toBe(1);
    await receiver.completeMessage(again!);
    expect(broker.queue("deferring")).toMatchObject({ active: 0, deferred: 0, locked: 0 });
  });

  test("scheduled messages come when due, unless cancelled", async () => {
    const sender = client.createSender("scheduling");
    const receiver = receiverOf(client, "scheduling");
    const start = now();
    const [, cancelled] = await sender.scheduleMessages(
      [
        { body: "scheduled", messageId: "s1" },
        { body: "never", messageId: "s2" },
      ],
      new Date(start + 60_000),
    );
    await sender.sendMessages({
      body: "sent",
      messageId: "s3",
      scheduledEnqueueTimeUtc: new Date(start + 120_000),
    });
    expect(broker.queue("scheduling")).toMatchObject({ active: 0, scheduled: 3 });
    await sender.cancelScheduledMessages(cancelled!);
    await expect(sender.cancelScheduledMessages(cancelled!)).rejects.toMatchObject({
      code: "MessageNotFound",
    });
    expect((await receiver.peekMessages(5)).map((message) => message.state)).toEqual([
      "scheduled",
      "scheduled",
    ]);

    expect(await receiver.receiveMessages(1, { maxWaitTimeInMs: 100 })).toEqual([]);
    skip(60_000);
    const first = await receiveOne(receiver);
    expect(first.body).toBe("scheduled");
    await receiver.completeMessage(first);
    expect(await receiver.receiveMessages(1, { maxWaitTimeInMs: 100 })).toEqual([]);
    skip(60_000);
    const second = await receiveOne(receiver);
    expect(second.body).toBe("sent");
    expect(second.enqueuedTimeUtc!.getTime()).toBeGreaterThanOrEqual(start + 120_000);
    await receiver.completeMessage(second);
    expect(broker.queue("scheduling").scheduled).toBe(0);
  });

  test("peeking shows messages without taking them, page by page", async () => {
    await send(
      client,
      "peeking",
      [1, 2, 3].map((n) => ({ body: n, messageId: `p${n}` })),
    );
    const receiver = receiverOf(client, "peeking");
    expect(ids(await receiver.peekMessages(2))).toEqual(["p1", "p2"]);
    expect(ids(await receiver.peekMessages(2))).toEqual(["p3"]);
    expect(broker.queue("peeking")).toMatchObject({ active: 3, locked: 0 });
  });

  test("within the window an id is taken once; after it, and in a queue without one, again", async () => {
    const twice = [
      { body: 1, messageId: "a" },
      { body: 2, messageId: "a" },
      { body: 3, messageId: "b" },
    ];
    await send(client, "duplicates", twice);
    expect(broker.queue("duplicates").active).toBe(3);

    await send(client, "no-duplicates", twice);
    const receiver = client.createReceiver("no-duplicates", { receiveMode: "receiveAndDelete" });
    expect((await receiveAll(receiver)).map((message) => message.body)).toEqual([1, 3]);
    await send(client, "no-duplicates", { body: 4, messageId: "b" });
    expect(broker.queue("no-duplicates").active).toBe(0);
    skip(600_000);
    await send(client, "no-duplicates", { body: 5, messageId: "b" });
    expect((await receiveOne(receiver)).body).toBe(5);
    await receiver.close();
  });

  test("messages end with their time to live, their own or the queue's", async () => {
    await send(client, "ageing", [
      { body: 1, timeToLive: 10_000 },
      { body: 2, timeToLive: 3_600_000 },
    ]);
    skip(10_000);
    const active = () => broker.queue("ageing").active;
    await expect.poll(active).toBe(1);
    const receiver = receiverOf(client, "ageing");
    expect((await receiver.peekMessages(2)).map((message) => message.body)).toEqual([2]);
    skip(50_000);
    await expect.poll(active).toBe(0);
  });

  test("an unknown queue and an oversize message are refused by name", async () => {
    const notFound = { code: "MessagingEntityNotFound" };
    await expect(send(client, "nowhere", { body: 1 })).rejects.toMatchObject(notFound);
    await expect(receiverOf(client, "nowhere").receiveMessages(1)).rejects.toMatchObject(notFound);
    await expect(receiverOf(client, "nowhere").peekMessages(1)).rejects.toMatchObject(notFound);
    const oversize = { body: "z".repeat(300_000) };
    await expect(send(client, "limits", oversize)).rejects.toMatchObject({ code: "MessageSizeExceeded" });
    expect(broker.queue("limits").active).toBe(0);
  });

  test("a subscription completes what it handles and keeps the lock of a slow handler", async () => {
    // In real time, because the client's timer renews the lock.
    const own = await ServiceBusBroker.start({ queues: { handling: { lockDurationMs: 1000 } } });
    const ownClient = new ServiceBusClient(own.connectionString);
    const messages = [1, 2, 3, 4].map((n) => ({ body: n, messageId: n === 3 ? "slow" : `q${n}` }));
    await send(ownClient, "handling", messages);
    const handled: unknown[] = [];
    const errors: unknown[] = [];
    const subscription = ownClient.createReceiver("handling").subscribe(
      {
        processMessage: async (message) => {
          if (message.messageId === "slow") await sleep(1600);
          handled.push(message.body);
        },
        processError: async ({ error }) => {
          errors.push(error);
        },
      },
      { maxConcurrentCalls: 3 },
    );
    await expect.poll(() => handled.length, { timeout: 10_000 }).toBe(4);
    await subscription.close();
    expect(handled).toEqual([1, 2, 4, 3]);
    expect(errors).toEqual([]);
    expect(own.queue("handling")).toMatchObject({ active: 0, locked: 0, deadLetters: 0 });
    await ownClient.close();
    await own.close();
  });

  test("a message can be settled after the receiver that received it has closed", async () => {
    await send(client, "closing", [{ body: 1 }, { body: 2 }]);
    const receiver = receiverOf(client, "closing");
    const [first, second] = await receiver.receiveMessages(2, { maxWaitTimeInMs: 2000 });
    await receiver.completeMessage(first!);
    await receiver.close();
    // Without its link, a message is settled through $management.
    await receiverOf(client, "closing").completeMessage(second!);
    expect(broker.queue("closing")).toMatchObject({ active: 0, locked: 0 });
  });

  test("two clients share a queue, and each message goes to one of them", async () => {
    const other = new ServiceBusClient(broker.connectionString);
    const count = 600;
    const takenBy: number[][] = [[], []];
    const subscriptions = [client, other].map((each, index) =>
      each.createReceiver("sharing").subscribe(
        {
          processMessage: async (message) => {
            takenBy[index]!.push(message.body);
          },
          processError: async ({ error }) => {
            throw error;
          },
        },
        { maxConcurrentCalls: 4 },
      ),
    );
    await send(
      client,
      "sharing",
      Array.from({ length: count }, (_, n) => ({ body: n })),
    );
    await expect.poll(() => takenBy.flat().length, { timeout: 10_000 }).toBe(count);
    for (const subscription of subscriptions) await subscription.close();
    await other.close();
    expect(new Set(takenBy.flat()).size).toBe(count);
    for (const taken of takenBy) expect(taken.length).toBeGreaterThan(count / 10);
    expect(broker.queue("sharing")).toMatchObject({ active: 0, locked: 0 });
  });
});

describe("the broker as a process", () => {
  const program = fileURLToPath(new URL("../../sandbox/broker/main.ts", import.meta.url));
  const dataDir = mkdtempSync(join(tmpdir(), "broker-"));
  const running = new Set<ChildProcess>();

  interface Started {
    readonly process: ChildProcess;
    readonly port: number;
    readonly connectionString: string;
  }
  async function start(queues: object, ...more: string[]): Promise<Started> {
    const child = spawn(process.execPath, [program, "--queues", JSON.stringify(queues), ...more], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    running.add(child);
    child.once("exit", () => running.delete(child));
    const [line] = await once(createInterface(child.stdout), "line");
    const { ready, port, connectionString } = JSON.parse(line);
    expect(ready).toBe(true);
    return { process: child, port, connectionString };
  }
  async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<unknown[]> {
    const exit = once(child, "exit");
    child.kill(signal);
    return await exit;
  }
  afterEach(async () => {
    for (const child of running) await kill(child, "SIGKILL");
  });
  afterAll(() => rmSync(dataDir, { recursive: true }));

  test("what is unsettled outlives SIGKILL, each message in the state it was in", async () => {
    const queues = {
      "sync-steps": { lockDurationMs: 60_000, maxDeliveryCount: 3, duplicateDetectionWindowMs: 60_000 },
    };
    const folder = join(dataDir, "states");
    const before = await start(queues, "--data", folder);
    let client = new ServiceBusClient(before.connectionString);
    let sender = client.createSender("sync-steps");
    const names = ["done", "twiceAbandoned", "dead", "deferred", "abandoned", "held", "untouched"];
    await sender.sendMessages(names.map((name) => ({ body: { name }, messageId: name })));
    let receiver = receiverOf(client, "sync-steps");
    await receiver.completeMessage(await receiveOne(receiver));
    await receiver.abandonMessage(await receiveOne(receiver));
    await receiver.abandonMessage(await receiveOne(receiver));
    const twiceAbandoned = await receiveOne(receiver); // Its third delivery is lost with the process.
    expect([twiceAbandoned.messageId, twiceAbandoned.deliveryCount]).toEqual(["twiceAbandoned", 2]);
    await receiver.deadLetterMessage(await receiveOne(receiver), {
      deadLetterReason: "bad",
      deadLetterErrorDescription: "x",
    });
    const deferred = await receiveOne(receiver);
    await receiver.deferMessage(deferred);
    await receiver.abandonMessage(await receiveOne(receiver));
    const abandoned = await receiveOne(receiver);
    const held = await receiveOne(receiver);
    await receiver.abandonMessage(abandoned);
    expect(held.messageId).toBe("held");
    const due = Date.now() + 8000;
    const [, cancelled] = await sender.scheduleMessages(
      [
        { body: { name: "scheduled" }, messageId: "scheduled" },
        { body: { name: "cancelled" }, messageId: "cancelled" },
      ],
      new Date(due),
    );
    await sender.cancelScheduledMessages(cancelled!);

    expect(await kill(before.process, "SIGKILL")).toEqual([null, "SIGKILL"]);
    await client.close();
    const [journal] = readdirSync(folder);
    appendFileSync(join(folder, journal!), '[{"op":"send","seq":99,"id":"torn"'); // As a write cut short leaves it.

    const after = await start(queues, "--data", folder, "--port", String(before.port));
    expect(after.port).toBe(before.port);
    client = new ServiceBusClient(after.connectionString);
    sender = client.createSender("sync-steps");
    receiver = receiverOf(client, "sync-steps");
    const deadLetters = await receiveAll(deadLettersOf(client, "sync-steps"));
    expect(deadLetters.map((message) => [message.messageId, message.deadLetterReason, message.body])).toEqual(
      [
        ["twiceAbandoned", "MaxDeliveryCountExceeded", { name: "twiceAbandoned" }],
        ["dead", "bad", { name: "dead" }],
      ],
    );
    await sender.sendMessages({ body: "a duplicate of what is gone", messageId: "done" });
    await sender.sendMessages({ body: "a duplicate of what is there", messageId: "untouched" });
    await sender.sendMessages({ body: { name: "new" }, messageId: "new" });
    const received = await receiveAll(receiver);
    expect(received.map((message) => [message.messageId, message.deliveryCount])).toEqual([
      ["abandoned", 2],
      ["held", 1],
      ["untouched", 0],
      ["new", 0],
    ]);
    expect(received.map((message) => message.body.name)).toEqual(ids(received));
    expect(
      new Set([...received, ...deadLetters].map(({ sequenceNumber }) => String(sequenceNumber))).size,
    ).toBe(6);
    const [set] = await receiver.receiveDeferredMessages([deferred.sequenceNumber!]);
    expect(set!.body).toEqual({ name: "deferred" });
    const scheduled = await receiveOne(receiver);
    expect(scheduled.messageId).toBe("scheduled");
    expect(Date.now()).toBeGreaterThanOrEqual(due);
    await client.close();
  });

  test("a broker killed while it takes messages in has every message that it accepted, once", async () => {
    const queues = { "export-steps": { duplicateDetectionWindowMs: 60_000 } };
    const folder = join(dataDir, "stream");
    const before = await start(queues, "--data", folder);
    let client = new ServiceBusClient(before.connectionString, {
      retryOptions: { maxRetries: 0, timeoutInMs: 1000 },
    });
    const accepted: string[] = [];
    const offered: string[] = [];
    const sendOn = async (lane: number): Promise<void> => {
      const sender = client.createSender("export-steps");
      for (let n = 0; ; n++) {
        const messageId = `${lane}:${n}`;
        offered.push(messageId);
        await sender.sendMessages({ body: { n }, messageId });
        accepted.push(messageId);
      }
    };
    const lanes = [0, 1, 2].map((lane) => sendOn(lane).catch((error: unknown) => error));
    await expect.poll(() => accepted.length, { timeout: 10_000 }).toBeGreaterThan(200);
    await kill(before.process, "SIGKILL");
    for (const error of await Promise.all(lanes)) expect(error).toBeInstanceOf(Error);
    await client.close();

    const after = await start(queues, "--data", folder);
    client = new ServiceBusClient(after.connectionString);
    // A sender that got no answer sends again, with the same ids.
    await send(
      client,
      "export-steps",
      offered.slice(-3).map((messageId) => ({ body: {}, messageId })),
    );
    const kept = ids(await receiveAll(receiverOf(client, "export-steps"))).map(String);
    expect(new Set(kept).size).toBe(kept.length);
    expect(accepted.filter((messageId) => !kept.includes(messageId))).toEqual([]);
    expect(kept.filter((messageId) => !offered.includes(messageId))).toEqual([]);
    await client.close();
  });

  test("it ends cleanly on SIGTERM with clients connected, and when its parent is gone", async () => {
    const queues = { "import-steps": {} };
    const first = await start(queues);
    const client = new ServiceBusClient(first.connectionString);
    await send(client, "import-steps", { body: 1 });
    expect(await kill(first.process, "SIGTERM")).toEqual([0, null]);
    await client.close();

    const orphan = await start(queues, "--exit-with-parent");
    const exit = once(orphan.process, "exit");
    orphan.process.stdin!.destroy();
    expect(await exit).toEqual([0, null]);
  });

  test("what it cannot start with is said in one message", async () => {
    const child = spawn(process.execPath, [program, "--queues", '{"import-steps":{"lockDuration":5}}']);
    let output = "";
    child.stderr.on("data", (chunk) => {
      output += chunk;
    });
    expect(await once(child, "close")).toEqual([1, null]);
    expect(output).toMatch(/^broker: --queues: .*lockDuration.*/);
    expect(output).not.toContain("    at ");
    expect(existsSync(join(dataDir, "import-steps.journal"))).toBe(false);
  });
});
