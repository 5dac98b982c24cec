import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ServiceBusClient } from "@azure/service-bus";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ServiceBusBroker } from "../../sandbox/broker/broker.ts";
import { type Child, ChildStartError, startChild } from "../../sandbox/child.ts";

const root = join(import.meta.dirname, "../..");
const hostFile = join(root, "sandbox/host/main.ts");
const fixture = join(root, "test/fixtures/functionApp");

interface Ready {
  readonly ready: true;
  readonly port: number;
  readonly functions: readonly string[];
}
interface Entry {
  readonly function: string;
  readonly message?: unknown;
  readonly metadata: Record<string, unknown>;
  readonly running?: number;
  readonly isPastDue?: boolean;
  readonly next?: string;
}

function startHost(app: string, env: Record<string, string>, ...args: string[]): Promise<Child<Ready>> {
  return startChild<Ready>({
    name: "host",
    file: hostFile,
    args: ["--app", app, "--port", "0", "--exit-with-parent", ...args],
    env: { PATH: process.env.PATH, ...env },
  });
}

describe("a running function app", () => {
  let broker: ServiceBusBroker;
  let client: ServiceBusClient;
  let host: Child<Ready>;
  let settings: Record<string, string>;
  let api: string;

  const records = async () => (await (await fetch(`${api}/api/records`)).json()) as Entry[];
  const recordsOf = async (name: string) => (await records()).filter((entry) => entry.function === name);
  /** Waits until a function has recorded that many calls. */
  async function recorded(name: string, count: number): Promise<Entry[]> {
    for (let tries = 0; tries < 100; tries++) {
      const entries = await recordsOf(name);
      if (entries.length >= count) return entries;
      await sleep(50);
    }
    throw new Error(`${name} was called fewer than ${count} times: ${JSON.stringify(await records())}`);
  }
  const send = (body: unknown, properties: Record<string, string> = {}) =>
    client.createSender("work").sendMessages({ body, messageId: "m-1", applicationProperties: properties });

  beforeAll(async () => {
    broker = await ServiceBusBroker.start({
      queues: { work: { lockDurationMs: 1000, maxDeliveryCount: 3 }, results: {} },
    });
    client = new ServiceBusClient(broker.connectionString);
    settings = { ServiceBus: broker.connectionString, WORK_QUEUE: "work", TICK_SCHEDULE: "* * * * * *" };
    host = await startHost(fixture, settings);
    api = `http://127.0.0.1:${host.ready.port}`;
  });
  afterAll(async () => {
    await host?.stop(5000);
    await client?.close();
    await broker?.close();
  });

  test("every function of every module is there", () => {
    expect([...host.ready.functions].sort()).toEqual(
      [
        "atStart",
        "broken",
        "deadWork",
        "echo",
        "echoMe",
        "files",
        "records",
        "results",
        "tick",
        "work",
      ].sort(),
    );
  });

  test("an HTTP function gets method, parameters, query, headers and the bytes of the body", async () => {
    const body = Buffer.from([0, 255, 1, 254]);
    const response = await fetch(`${api}/api/ECHO/An%20n%2FLee?where=a%20b&where=c`, {
      method: "POST",
      headers: { "X-Test": "yes" },
      body,
    });
    expect(response.status).toBe(201);
    expect(response.headers.get("x-answered-by")).toBe("echo");
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(response.headers.getSetCookie()).toEqual(["seen=a%20b; Path=/"]);
    expect(await response.json()).toEqual({
      method: "POST",
      url: `${api}/api/ECHO/An%20n%2FLee?where=a%20b&where=c`,
      // As in Azure: an encoded slash stays encoded, and repeated query values are joined.
      params: { name: "An n%2FLee" },
      query: [["where", "a b,c"]],
      queryOfUrl: [
        ["where", "a b"],
        ["where", "c"],
      ],
      test: "yes",
      body: body.toString("base64"),
    });
  });

  test("a literal segment wins over a parameter, and the rest of a path is one parameter", async () => {
    expect((await fetch(`${api}/api/echo/me`)).headers.get("x-answered-by")).toBe("echoMe");
    const files = (await (await fetch(`${api}/api/files/a/b/c%20d`)).json()) as { params: unknown };
    expect(files.params).toEqual({ folder: "a", rest: "b/c d" });
  });

  test("an unknown path and a method without a function answer 404, a function that throws 500", async () => {
    expect((await fetch(`${api}/api/nothing`)).status).toBe(404);
    expect((await fetch(`${api}/echo/me`)).status).toBe(404);
    expect((await fetch(`${api}/api/echo/me/more`)).status).toBe(404);
    expect((await fetch(`${api}/api/echo/Ann`, { method: "DELETE" })).status).toBe(404);
    const broken = await fetch(`${api}/api/broken`);
    expect([broken.status, await broken.text()]).toEqual([500, ""]);
  });

  test("a message is parsed, completed, and its outputs are messages of their own", async () => {
    await send({ name: "one" }, { kind: "test" });
    const [work] = await recorded("work", 1);
    expect(work?.message).toEqual({ name: "one" });
    expect(work?.metadata).toMatchObject({
      messageId: "m-1",
      deliveryCount: 1,
      applicationProperties: { kind: "test" },
    });
    const results = await recorded("results", 2);
    expect(results.map((entry) => entry.message)).toEqual(
      expect.arrayContaining([{ name: "one", deliveryCount: 1 }, "done one"]),
    );
    expect(await client.createReceiver("work").peekMessages(10)).toEqual([]);
  });

  test("a failing function sees its message again, until it is a dead letter", async () => {
    const before = (await recordsOf("work")).length;
    await send({ name: "hopeless", failures: 99 });
    const [dead] = await recorded("deadWork", 1);
    expect(dead?.message).toEqual({ name: "hopeless", failures: 99 });
    expect(dead?.metadata.deadLetterReason).toBe("MaxDeliveryCountExceeded");
    const deliveries = (await recordsOf("work")).slice(before);
    expect(deliveries.map((entry) => entry.metadata.deliveryCount)).toEqual([1, 2, 3]);
  });

  test("the lock of a message is renewed while its function works", async () => {
    const before = (await recordsOf("work")).length;
    await send({ name: "long", lastsMs: 2500 });
    await expect
      .poll(async () => JSON.stringify(await recordsOf("results")), { timeout: 6000 })
      .toContain("done long");
    const deliveries = (await recordsOf("work")).slice(before);
    expect(deliveries.map((entry) => entry.metadata.deliveryCount)).toEqual([1]);
  });

  test("timers fire on their schedule and never twice at a time; one fires at the start", async () => {
    const ticks = await recorded("tick", 3);
    expect(new Set(ticks.map((tick) => tick.running))).toEqual(new Set([1]));
    expect(ticks[0]?.isPastDue).toBe(false);
    expect(Date.parse(ticks[0]?.next ?? "")).toBeGreaterThan(Date.now() - 60_000);
    expect(await recordsOf("atStart")).toHaveLength(1);
  });

  test("a timer and a queue function can be started by hand", async () => {
    const byHand = (name: string, body: string) =>
      fetch(`${api}/admin/functions/${name}`, { method: "POST", body });
    expect((await byHand("atStart", "{}")).status).toBe(202);
    expect(await recorded("atStart", 2)).toHaveLength(2);
    expect((await byHand("deadWork", JSON.stringify({ input: '{"by":"hand"}' }))).status).toBe(202);
    await expect.poll(async () => JSON.stringify(await recordsOf("deadWork"))).toContain('{"by":"hand"}');
    expect((await byHand("nobody", "{}")).status).toBe(404);
  });

  test("SIGTERM lets a running invocation finish, and its message is gone", async () => {
    const second = await startHost(fixture, settings, "--no-timers");
    // The first host would take the message otherwise.
    await host.stop(5000);
    api = `http://127.0.0.1:${second.ready.port}`;
    expect(await recordsOf("tick")).toEqual([]);
    await send({ name: "last", lastsMs: 1200 });
    await recorded("work", 1);
    await second.stop(8000);
    const end = await second.ended;
    expect([end.code, end.lastLines]).toEqual([0, ["[work] working on last"]]);
    expect(await client.createReceiver("work").peekMessages(10)).toEqual([]);
    const [result] = await client.createReceiver("results").receiveMessages(1, { maxWaitTimeInMs: 2000 });
    expect(result?.body).toEqual({ name: "last", deliveryCount: 1 });
    await expect(reachable(second.ready.port)).resolves.toBe(false);
  });
});

function reachable(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}

describe("an app that cannot start", () => {
  const apps = join(root, `.test/function-host-${process.pid}`);
  afterEach(() => rmSync(apps, { recursive: true, force: true }));

  /** Starts an app of one module and returns how the host ended. */
  async function refused(
    module: string,
    options: { main?: string; local?: string; env?: Record<string, string> } = {},
  ): Promise<{ code: number | null; text: string }> {
    const app = join(apps, String(Math.random()).slice(2));
    mkdirSync(app, { recursive: true });
    writeFileSync(
      join(app, "package.json"),
      JSON.stringify({ type: "module", main: options.main ?? "*.js" }),
    );
    writeFileSync(join(app, "host.json"), '{"version":"2.0"}');
    writeFileSync(join(app, "index.js"), `import { app } from "@azure/functions";\n${module}`);
    if (options.local !== undefined) writeFileSync(join(app, "local.settings.json"), options.local);
    try {
      const host = await startHost(app, options.env ?? {});
      await host.stop(2000);
      return { code: 0, text: host.ready.functions.join(" ") };
    } catch (error) {
      if (!(error instanceof ChildStartError)) throw error;
      return { code: error.end.code, text: error.end.lastLines.join("\n") };
    }
  }

  const http = 'app.get("hello", () => ({ body: "hello" }));';

  test("a configuration error gives its message and nothing else, and exit code 2", async () => {
    const [mistake, bug] = await Promise.all([
      refused(`class ConfigurationError extends Error { name = "ConfigurationError" }
        throw new ConfigurationError("config/rules/x.yaml:3:5 no such attribute: givenname");`),
      refused('throw new TypeError("a bug");'),
    ]);
    expect(mistake).toEqual({ code: 2, text: "config/rules/x.yaml:3:5 no such attribute: givenname" });
    expect(bug.code).toBe(1);
    expect(bug.text).toMatch(
      /Unable to load entry point "index\.js"[\s\S]*TypeError: a bug[\s\S]*index\.js:2/,
    );
  });

  test("an app without functions, or whose functions share a name, is refused", async () => {
    const [none, nothing, twice] = await Promise.all([
      refused(""),
      refused(http, { main: "dist/*.js" }),
      refused(`${http}\n${http}`),
    ]);
    expect(none).toMatchObject({ code: 1, text: expect.stringContaining("No function is registered") });
    expect(nothing).toMatchObject({
      code: 1,
      text: expect.stringContaining('no file matches "main" (dist/*.js)'),
    });
    expect(twice).toMatchObject({
      code: 1,
      text: expect.stringContaining('"hello" has already been registered'),
    });
  });

  test("unset settings and connections, and schedules that are not NCRONTAB, are refused by name", async () => {
    const queue =
      'app.serviceBusQueue("work", { connection: "ServiceBus", queueName: "work", handler() {} });';
    const timer = (schedule: string) => `app.timer("tick", { schedule: "${schedule}", handler() {} });`;
    const [connection, setting, fiveFields, minute61, sunday7] = await Promise.all([
      refused(queue),
      refused(timer("%CYCLE_SCHEDULE%")),
      refused(timer("*/5 * * * *")),
      refused(timer("%S%"), { env: { S: "0 61 * * * *" } }),
      refused(timer("0 0 0 * * 7")),
    ]);
    expect(connection.text).toContain("nor ServiceBus__fullyQualifiedNamespace");
    expect(setting.text).toContain("the app setting CYCLE_SCHEDULE is not set");
    expect(fiveFields.text).toContain('the schedule "*/5 * * * *"');
    expect(minute61.text).toContain('the schedule "0 61 * * * *" (%S%)');
    expect(sunday7.text).toContain("is not NCRONTAB");
    for (const one of [connection, setting, fiveFields, minute61, sunday7]) expect(one.code).toBe(1);
  });

  test("local.settings.json supplies settings, and the environment wins over it", async () => {
    const local = JSON.stringify({ Values: { A: "file", B: "file" } });
    const module = 'app.get(["a", process.env.A, "b", process.env.B].join("-"), () => ({}));';
    expect(await refused(module, { local, env: { B: "environment" } })).toEqual({
      code: 0,
      text: "a-file-b-environment",
    });
    const broken = await refused(http, { local: "{" });
    expect(broken).toMatchObject({ code: 1, text: expect.stringContaining("local.settings.json") });
  });
});
