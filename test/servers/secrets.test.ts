/**
 * The whole product with secrets that the test knows, on good days and on bad ones, with what an attacker who can
 * write into the queues would put there. Afterwards everything that it has written anywhere is searched for them.
 */
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { ServiceBusClient } from "@azure/service-bus";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Run } from "../../cli/api.ts";
import { ServiceBusBroker } from "../../sandbox/broker/broker.ts";
import { DirectorySandbox } from "../../sandbox/directory/sandbox.ts";
import { Platform, type PlatformFile } from "../../sandbox/platform.ts";
import { type FaultProxy, faultProxy, operation, type ProxiedMessage } from "../support/faultProxy.ts";
import { type Ingestion, openIngestion } from "../support/ingestion.ts";

const root = join(import.meta.dirname, "../..");
const state = join(root, `.test/secrets-${process.pid}`);
const guests = 25;
const queues = ["import-steps", "sync-steps", "export-steps"] as const;

let directory: DirectorySandbox;
let proxy: FaultProxy;
let ingestion: Ingestion;
let webhook: Server;
let platform: Platform;
let broker: ServiceBusBroker;
let bus: ServiceBusClient;
let outcomes: Run[];

/** Everything that the product wrote, by where. */
const written = new Map<string, string>();
const said: string[] = [];
const posted: string[] = [];
const answered: string[] = [];
/** By name. */
const secrets = new Map<string, string>();
const passwords = new Set<string>();
let directoryWrites = 0;

const api = async <Body>(path: string, init: RequestInit = {}): Promise<Body> => {
  const response = await fetch(`${platform.api}${path}`, init);
  const text = await response.text();
  answered.push(text);
  return JSON.parse(text) as Body;
};
const post = <Body>(path: string, body: unknown) =>
  api<Body>(path, { method: "POST", body: JSON.stringify(body) });
const file = () => JSON.parse(readFileSync(join(state, "platform.json"), "utf8")) as PlatformFile;
const tenant = async (method: string, path: string, body?: unknown) => {
  const response = await fetch(`${file().graph.admin}/admin${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status}`);
  return response.status === 204 ? undefined : response.json();
};
const log = () => readFileSync(join(state, "logs/host.log"), "utf8");

async function ended({ id }: Run): Promise<Run> {
  await expect.poll(async () => (await api<Run>(`/runs/${id}`)).endedAt, { timeout: 120_000 }).toBeTruthy();
  return api<Run>(`/runs/${id}`);
}
const cycle = async (name: string) => ended(await post<Run>("/runs", { cycle: name }));
/** How many entries of each kind were written to the directory since the last question. */
function writesSince(): number {
  const count = directoryWrites;
  directoryWrites = 0;
  return count;
}

/** unicodePwd is quoted text in UTF-16, wherever in the message it stands. */
function notePassword({ bytes }: ProxiedMessage): void {
  const at = bytes.indexOf("unicodePwd");
  if (at < 0) return;
  for (const offset of [0, 1]) {
    const [, password] = /"([^"]{20,})"/.exec(bytes.subarray(at + 10 + offset).toString("utf16le")) ?? [];
    if (password !== undefined && /^[ -~]+$/.test(password)) passwords.add(password);
  }
}

/** A bind response: invalidCredentials (49), in Active Directory's words. RFC 4511 4.2.2 */
function refusedBind(id: number): Buffer {
  const words = Buffer.from(
    "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1",
  );
  const result = Buffer.concat([Buffer.from([0x0a, 1, 49, 0x04, 0, 0x04, words.length]), words]);
  const message = Buffer.concat([Buffer.from([0x02, 1, id, 0x61, result.length]), result]);
  return Buffer.concat([Buffer.from([0x30, message.length]), message]);
}

async function send(queue: string, ...bodies: readonly unknown[]): Promise<void> {
  const sender = bus.createSender(queue);
  for (const body of bodies) await sender.sendMessages({ body, contentType: "application/json" });
  await sender.close();
}

/** Until nothing is in the queues, nor in their dead letters. */
async function drained(): Promise<void> {
  for (const queue of queues) {
    for (const options of [{}, { subQueueType: "deadLetter" }] as const) {
      const left = async () => {
        const receiver = bus.createReceiver(queue, options);
        const { length } = await receiver.peekMessages(1);
        await receiver.close();
        return length;
      };
      await expect.poll(left, { timeout: 60_000, interval: 100 }).toBe(0);
    }
  }
}

beforeAll(async () => {
  rmSync(state, { recursive: true, force: true });
  mkdirSync(state, { recursive: true });
  directory = await DirectorySandbox.start();
  proxy = await faultProxy(directory);
  proxy.hooks.request = (message) => {
    notePassword(message);
    if (![operation.bind, operation.search, 0x42].includes(message.operation as never)) directoryWrites++;
    return undefined;
  };
  ingestion = await openIngestion();
  writeFileSync(join(root, `.test/secrets-${process.pid}.pem`), ingestion.authority);
  webhook = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      posted.push(Buffer.concat(chunks).toString("utf8"));
      response.statusCode = posted.length === 1 ? 500 : 202;
      response.end();
    });
  });
  await new Promise<void>((listening) => webhook.listen(0, "127.0.0.1", listening));
  const { port } = webhook.address() as AddressInfo;
  secrets.set("path of the webhook", "IncomingWebhook-c2VjcmV0IHBhdGg");
  secrets.set("signature of the webhook", "sig-7Yx1pQvR2mS9bWkD");
  secrets.set("key of the queues", "c2VjcmV0S2V5T2ZUaGVRdWV1ZXMxMjM0NTY3ODkwYWI=");
  broker = await ServiceBusBroker.start({
    dataDir: join(state, "queues"),
    queues: Object.fromEntries(
      queues.map((name) => [name, { maxDeliveryCount: 10, lockDurationMs: 30_000 }]),
    ),
  });
  const connection = broker.connectionString.replace(
    /SharedAccessKey=[^;]+/,
    `SharedAccessKey=${secrets.get("key of the queues")}`,
  );
  platform = await Platform.start({
    appDirectory: root,
    stateDirectory: state,
    fresh: false,
    port: 0,
    hosts: 1,
    directory: "sandbox",
    guests,
    settings: {
      AD_URL: proxy.url,
      AD_BIND_DN: directory.bindDn,
      AD_BIND_PASSWORD: directory.bindPassword,
      AD_CA_CERTIFICATE: proxy.ca,
      AD_BASE_DN: directory.baseDn,
      GUEST_OU: directory.guestOu,
      ServiceBus: connection,
      CYCLE_SCHEDULE: "0 0 0 1 1 *",
      RUN_RETRY_SECONDS: "0.1,0.1",
      WEBHOOK_URL: `http://127.0.0.1:${port}/${secrets.get("path of the webhook")}?sig=${secrets.get("signature of the webhook")}`,
      APPLICATIONINSIGHTS_CONNECTION_STRING: ingestion.connectionString,
      NODE_EXTRA_CA_CERTS: join(root, `.test/secrets-${process.pid}.pem`),
    },
    say: (line) => said.push(line),
  });
  secrets.set("password of the directory account", directory.bindPassword);
  secrets.set("Graph token", platform.settings.GRAPH_ACCESS_TOKEN!);
  secrets.set("key of the storage", /AccountKey=([^;]+)/.exec(platform.settings.Storage!)![1]!);
  bus = new ServiceBusClient(connection);
});

afterAll(async () => {
  await bus?.close();
  await platform?.stop();
  await broker?.close();
  await ingestion?.close();
  await proxy?.close();
  await directory?.close();
  await new Promise((closed) => webhook?.close(closed));
  for (const name of [state, `${state}.pem`]) rmSync(name, { recursive: true, force: true });
});

describe("a run of everything", () => {
  test("goes well, is held and approved, and fails for want of Graph and of the directory", async () => {
    outcomes = [await cycle("initial")];
    expect(passwords.size).toBe(guests);
    const { users } = (await tenant("GET", "/users?$top=999")) as {
      users: { id: string; userType: string }[];
    };
    const some = users.filter(({ userType }) => userType === "Guest").slice(0, 10);
    for (const { id } of some) await tenant("POST", `/users/${id}/accept`);
    for (const { id } of some) await tenant("POST", `/users/${id}/unblock`);
    outcomes.push(await cycle("delta"));
    for (const { id } of some) await tenant("POST", `/users/${id}/block`);
    outcomes.push(await cycle("delta"));
    const { hash } = await api<{ hash: string }>("/connectors/ADMA/export-plan");
    outcomes.push(
      await ended(await post<Run>("/connectors/ADMA/export-plan/approve", { hash, why: "meant" })),
    );

    await tenant("POST", "/faults", { status: 401, times: 100 });
    outcomes.push(await cycle("delta"));
    await tenant("DELETE", "/faults");
    const { request } = proxy.hooks;
    proxy.hooks.request = (message) => {
      if (message.operation === operation.bind) return refusedBind(message.id);
      message.cut();
      return null;
    };
    outcomes.push(
      await ended(await post<Run>("/runs", { connector: "ADMA", profile: "Full Import (Stage Only)" })),
    );
    proxy.hooks.request = request!;
    outcomes.push(await cycle("delta"));
    expect(outcomes.map(({ status }) => status)).toEqual([
      "success",
      "success",
      "stopped-disable-threshold-exceeded",
      "success",
      "no-start-credentials",
      "no-start-credentials",
      "success",
    ]);
  }, 300_000);
});

describe("whoever can write into the queues", () => {
  test("with what is no message of ours gets it dropped with a warning, after a limited number of tries", async () => {
    writesSince();
    const malformed = [
      "not a message",
      42,
      null,
      [],
      {},
      { runId: "../../runs", step: 0, shard: "main", seq: 0, attempt: 0 },
      { runId: outcomes[0]!.id, step: 0, shard: "main", seq: 0, attempt: 0, also: "this" },
      { runId: outcomes[0]!.id, step: -1, shard: "main", seq: 0, attempt: 0 },
      { runId: outcomes[0]!.id, step: 0, shard: "../other", seq: 0, attempt: 0 },
      { runId: outcomes[0]!.id, step: 0, shard: "main", seq: 1e300, attempt: 0 },
      { runId: "a".repeat(200_000), step: 0, shard: "main", seq: 0, attempt: 0 },
    ];
    for (const queue of queues) await send(queue, ...malformed);
    await drained();
    await expect
      .poll(() => log().match(/dead letter: not a message of ours; dropped/g)?.length, { timeout: 30_000 })
      .toBe(malformed.length * queues.length);
    expect(writesSince()).toBe(0);
  });

  test("with messages of runs that were, or never were, makes nothing run", async () => {
    const before = await api<{ items: Run[] }>("/runs?limit=100");
    const forged = [outcomes[0]!.id, outcomes[2]!.id, "0000000000000-abcdef"].flatMap((runId) =>
      [0, 3, 999].flatMap((step) =>
        [0, 1, 7].map((seq) => ({ runId, step, shard: "main", seq, attempt: 99 })),
      ),
    );
    for (const queue of queues) await send(queue, ...forged);
    await drained();
    expect(await api<{ items: Run[] }>("/runs?limit=100")).toEqual(before);
    expect(writesSince()).toBe(0);
    expect((await cycle("delta")).status).toBe("success");
  });
});

describe("nothing secret", () => {
  /** As which a secret might stand somewhere, plainly or not. */
  function disguises(secret: string): Map<string, string> {
    const bytes = Buffer.from(secret);
    const base64 = bytes.toString("base64").replace(/=+$/, "");
    const wide = Buffer.from(secret, "utf16le");
    const quoted = Buffer.from(`"${secret}"`, "utf16le");
    return new Map([
      ["plain", secret],
      ["JSON", JSON.stringify(secret).slice(1, -1)],
      ["JSON in JSON", JSON.stringify(JSON.stringify(secret).slice(1, -1)).slice(1, -1)],
      ["percent-encoded", encodeURIComponent(secret)],
      ["base64", base64.slice(0, -1)],
      ["base64url", bytes.toString("base64url").slice(0, -1)],
      ["hex", bytes.toString("hex")],
      ["UTF-16 in base64", wide.toString("base64").replace(/=+$/, "").slice(0, -1)],
      ["unicodePwd in base64", quoted.toString("base64").replace(/=+$/, "").slice(0, -1)],
      ["UTF-16 in hex", wide.toString("hex")],
      ["UTF-16", wide.toString("latin1")],
    ]);
  }

  const found = (texts: ReadonlyMap<string, string>, wanted: ReadonlyMap<string, string>) =>
    [...texts].flatMap(([where, text]) =>
      [...wanted].flatMap(([name, secret]) =>
        [...disguises(secret)]
          .filter(([, form]) => text.includes(form))
          .map(([form]) => `${name} (${form}) in ${where}`),
      ),
    );

  beforeAll(async () => {
    const { paths } = await api<{ paths: Record<string, { get?: unknown }> }>("/openapi.json");
    const names = { name: "ADMA", id: outcomes[2]!.id, v: "1" } as Record<string, string>;
    for (const [path, { get }] of Object.entries(paths)) {
      if (get === undefined) continue;
      await api(path.replace(/\{(\w+)\}/g, (_, name) => names[name] ?? "x"));
    }
    for (const { id } of outcomes) await api(`/runs/${id}`);
    for (const connector of ["AADMA", "ADMA"]) {
      const { items } = await api<{ items: { id: string }[] }>(`/connectors/${connector}/objects?limit=3`);
      for (const { id } of items) await api(`/connectors/${connector}/objects/${id}`);
    }
    const doctor = await new Promise<string>((resolve) => {
      execFile(
        process.execPath,
        [join(root, "cli/vestibule.ts"), "doctor"],
        { cwd: root, env: { PATH: process.env.PATH, ...platform.settings } },
        (_error, out, err) => resolve(out + err),
      );
    });
    const { settings } = platform;
    await platform.stop();
    for (const name of readdirSync(state, { recursive: true, encoding: "utf8" })) {
      // The tenant's own state, and the file by which the platform hands its token on.
      if (/^graph(\/|$)|^graph-token$/.test(name)) continue;
      try {
        written.set(`the state folder: ${name}`, readFileSync(join(state, name), "latin1"));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EISDIR") throw error;
      }
    }
    written.set("the terminal", said.join("\n"));
    written.set("the telemetry", ingestion.raw());
    written.set("the webhook", posted.join("\n"));
    written.set("the API", answered.join("\n"));
    written.set("doctor", doctor);
    for (const [index, password] of [...passwords].entries()) secrets.set(`password ${index}`, password);
    expect(settings.AD_BIND_PASSWORD).toBe(directory.bindPassword);
  });

  test("is searched for where something is: tables, queues, logs, telemetry, webhook, API, doctor", () => {
    expect(secrets.size).toBe(6 + guests);
    const holds = (where: RegExp, text: RegExp | string) =>
      [...written].some(([name, content]) => where.test(name) && content.match(text) !== null);
    expect(holds(/tables\//, "OU=AAD Guest Users")).toBe(true);
    expect(holds(/queues\//, outcomes[0]!.id)).toBe(true);
    expect(holds(/logs\/host\.log/, "done: success")).toBe(true);
    expect(holds(/logs\/host\.log/, /The webhook answered 500|data 52e|AD_BIND_PASSWORD/)).toBe(true);
    expect(holds(/telemetry/, "PermissionLost")).toBe(true);
    expect(holds(/webhook/, "ExportHeld")).toBe(true);
    expect(holds(/the API/, "no-start-credentials")).toBe(true);
    expect(holds(/doctor/, "tables")).toBe(true);
    const planted = new Map(
      [...disguises(secrets.get("password 0")!)].map(([form, text]) => [form, `before ${text} after`]),
    );
    for (const form of planted.keys())
      expect(found(new Map([[form, planted.get(form)!]]), secrets), form).not.toEqual([]);
  });

  test("was written anywhere", () => {
    expect(found(written, secrets)).toEqual([]);
  });
});
