/** What is told of runs, and the receivers that are no service of Azure. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createAuthority } from "../../sandbox/graph/certificates.ts";
import { certificateSeen, throttled } from "../../src/engine/ports/signals.ts";
import type { Telemetry } from "../../src/engine/ports/telemetry.ts";
import { RunReporter } from "../../src/engine/runReporter.ts";
import { outcomeOf, tellRunEnded } from "../../src/engine/runs/runTelemetry.ts";
import { ConnectorSpaceStore } from "../../src/engine/stores/connectorSpace.ts";
import { ConnectorStateStore } from "../../src/engine/stores/connectorState.ts";
import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";
import { HistoryStore, newRunId, type Run, RunStore, type StepRecord } from "../../src/engine/stores/runs.ts";
import { readSettings } from "../../src/settings.ts";
import { connectorOfHost, knownCredentials } from "../../src/telemetry/credentials.ts";
import { lazyTelemetry } from "../../src/telemetry/lazy.ts";
import { tellSignals } from "../../src/telemetry/signals.ts";
import { webhook } from "../../src/telemetry/webhook.ts";

class Recorder implements Telemetry {
  readonly events: { name: string; [property: string]: string }[] = [];
  readonly metrics: string[] = [];
  event: Telemetry["event"] = (name, properties) => void this.events.push({ name, ...properties });
  metric: Telemetry["metric"] = (name, value, dimensions) =>
    void this.metrics.push([name, value, ...Object.values(dimensions)].join(" "));
  span: Telemetry["span"] = () => {};
  flush = async () => {};
}

const step = (changed: Partial<StepRecord>): StepRecord => ({
  ...{ number: 1, connector: "ADMA", profile: "Export", type: "export", status: "success", detail: null },
  ...{ startedAt: "2026-01-01T00:00:00Z", endedAt: "2026-01-01T00:00:05Z", statistics: {} },
  ...changed,
});
const runOf = (status: string, steps: StepRecord[]): Run => ({
  ...{ id: "r1", trigger: "timer", startedBy: null, cycle: "delta", status, currentStep: 0, steps },
  ...{ startedAt: "2026-01-01T00:00:00Z", endedAt: "2026-01-01T00:00:09Z", rulesVersion: "v" },
  ...{ stopRequested: false, approval: null },
});

test.each([
  ["success", "succeeded"],
  ["completed-no-objects", "succeeded"],
  ["completed-export-errors", "succeeded-in-part"],
  ["completed-discovery-errors", "failed"],
  ["stopped-deletion-threshold-exceeded", "held"],
  ["stopped-disable-threshold-exceeded", "held"],
  ["stopped-approval-required", "held"],
  ["stopped-user", "stopped"],
  ["stopped-connectivity", "failed"],
  ["no-start-credentials", "failed"],
  ["a-status-of-tomorrow", "failed"],
])("a run that ended with %s has %s", (status, outcome) => {
  expect(outcomeOf(status)).toBe(outcome);
});

test("a failed run names the connector that failed, its objects and what to do", () => {
  const recorder = new Recorder();
  const failed = step({
    status: "completed-export-errors",
    statistics: { exportAdd: 3, exportFailure: 1, exportDelete: 0 },
  });
  const before = step({ number: 0, connector: "AADMA", profile: "Delta Import (Stage Only)" });
  tellRunEnded(recorder, runOf("completed-export-errors", [before, failed]), [
    { connector: "ADMA", code: "permission-issue", count: 1 },
  ]);
  expect(recorder.events).toEqual([
    expect.objectContaining({
      ...{ name: "RunEnded", what: "delta cycle", connector: "ADMA", durationMs: "9000" },
      objects: "exportAdd 3, exportFailure 1; permission-issue 1",
      remedy: expect.stringContaining("vestibule run show r1"),
    }),
  ]);
  expect(recorder.metrics).toContain("vestibule.errors 1 ADMA permission-issue");
  expect(recorder.metrics).toContain("vestibule.objects 3 ADMA Export exportAdd");
});

test("refused access is an event of its own", () => {
  const recorder = new Recorder();
  const refused = step({ status: "no-start-credentials", detail: "Grant User.Read.All." });
  tellRunEnded(recorder, runOf("no-start-credentials", [refused]), []);
  expect(recorder.events.map(({ name, remedy }) => [name, remedy!.slice(0, 20)])).toEqual([
    ["RunEnded", "Grant User.Read.All."],
    ["PermissionLost", "Grant User.Read.All."],
  ]);
});

test("what comes after rules that wait for approval is told as well, and the rules are no plan", () => {
  const recorder = new Recorder();
  const waits = step({
    ...{ number: 1, connector: "MIMMA", profile: "Delta Synchronization", type: "deltaSync" },
    ...{ status: "stopped-approval-required", detail: "Approve it with: vestibule rules activate 3." },
  });
  const refused = step({
    number: 2,
    status: "stopped-permission",
    detail: "Grant the right to create users.",
  });
  const never = step({ number: 3, status: "not-run", startedAt: null, endedAt: null });
  tellRunEnded(recorder, runOf("stopped-approval-required", [waits, refused, never]), []);
  expect(recorder.events).toMatchObject([
    { name: "RunEnded", status: "stopped-approval-required", outcome: "failed", connector: "ADMA" },
    { name: "ExportHeld", connector: "MIMMA", remedy: "Approve it with: vestibule rules activate 3." },
    { name: "PermissionLost", connector: "ADMA", remedy: expect.stringMatching(/^Grant the right/) },
  ]);
  recorder.events.length = 0;
  tellRunEnded(recorder, runOf("stopped-approval-required", [waits, step({ number: 2 }), never]), []);
  expect(recorder.events).toMatchObject([
    { name: "RunEnded", outcome: "held", connector: "MIMMA" },
    { name: "ExportHeld", connector: "MIMMA" },
  ]);
});

test("what a mistake of ours has said stays out of what is told", () => {
  const recorder = new Recorder();
  const broken = step({ status: "stopped-unexpected-error", detail: "CN=Ann Example is no number" });
  tellRunEnded(recorder, runOf("stopped-unexpected-error", [broken]), []);
  expect(recorder.events).toMatchObject([
    { name: "RunEnded", remedy: expect.stringContaining("run show r1") },
  ]);
  expect(JSON.stringify(recorder)).not.toContain("Ann");
});

function reporting(now: () => number) {
  const tables = new MemoryTables();
  const recorder = new Recorder();
  const said: string[] = [];
  const parts = {
    ...{ telemetry: recorder, clock: { now }, runs: new RunStore(tables), history: new HistoryStore(tables) },
    connectorSpace: new ConnectorSpaceStore(tables, new Map()),
    state: new ConnectorStateStore(tables),
    log: (message: string) => void said.push(message),
  };
  return { ...parts, recorder, said, newReporter: () => new RunReporter(parts) };
}

test("the errors of a run are those of the steps that had them", async () => {
  const { history, recorder, said, newReporter } = reporting(() => 0);
  const at = "2026-01-01T00:00:00Z";
  const none = { anchor: null, dn: null, rule: null, attribute: null, message: "", firstOccurred: at };
  const errorOf = (code: string) => [{ object: "o", error: { ...none, code, retryCount: 0 } }];
  await history.addErrors("r1", 0, errorOf("flow-failed"));
  await history.addErrors("r1", 1, errorOf("permission-issue"));
  const steps = [
    step({ number: 1, connector: "AADMA", type: "deltaSync", status: "completed-sync-errors" }),
    step({ number: 2, status: "completed-export-errors" }),
  ];
  await newReporter().ended(runOf("completed-sync-errors", steps));
  expect(said).toEqual([]);
  expect(recorder.metrics.filter((one) => one.startsWith("vestibule.errors"))).toEqual([
    "vestibule.errors 1 AADMA flow-failed",
    "vestibule.errors 1 ADMA permission-issue",
  ]);
});

test("the age of the last good cycle grows however many have failed since, and where none was ever good", async () => {
  const minute = 60_000;
  let now = Date.parse("2026-01-01T00:00:00Z");
  const { runs, recorder, newReporter } = reporting(() => now);
  const ended = async (status: string) => {
    const at = new Date(now).toISOString();
    const run = { ...runOf(status, [step({})]), id: newRunId(new Date(now), "000000"), startedAt: at };
    await runs.end(await runs.create(run, { runId: run.id, connectors: [], exclusive: true }), {
      ...run,
      endedAt: at,
    });
    now += minute;
  };
  const ageOf = async (reporter: RunReporter) => {
    recorder.metrics.length = 0;
    await reporter.cycleAge();
    return recorder.metrics;
  };
  const reporter = newReporter();
  expect(await ageOf(reporter)).toEqual([]);
  for (let failed = 0; failed < 60; failed++) await ended("stopped-connectivity");
  expect(await ageOf(reporter)).toEqual([`vestibule.cycle.age ${60 * minute}`]);
  await ended("completed-sync-errors");
  expect(await ageOf(reporter)).toEqual([`vestibule.cycle.age ${minute}`]);
  for (let failed = 0; failed < 60; failed++) await ended("stopped-connectivity");
  expect(await ageOf(reporter)).toEqual([`vestibule.cycle.age ${61 * minute}`]);
  expect(await ageOf(newReporter())).toEqual([`vestibule.cycle.age ${61 * minute}`]);
});

test("a certificate that ends soon is told of once a day, throttling each time", () => {
  const recorder = new Recorder();
  let now = Date.parse("2026-01-01T00:00:00Z");
  const { stop } = tellSignals(recorder, () => now);
  const seen = (host: string, validTo: string) =>
    certificateSeen.publish({ host, validTo: Date.parse(validTo) });
  seen("dc1", "2026-03-01");
  seen("dc2", "2026-01-11");
  seen("dc2", "2026-01-11");
  now += 25 * 3_600_000;
  seen("dc2", "2026-01-11");
  throttled.publish({ system: "graph", waitMs: 5 });
  stop();
  throttled.publish({ system: "graph", waitMs: 5 });
  expect(
    recorder.events.map(({ connector, remedy }) => [connector, remedy!.match(/\((.*) days\)/)![1]]),
  ).toEqual([
    ["dc2", "10"],
    ["dc2", "8"],
  ]);
  expect(recorder.metrics).toEqual(["vestibule.throttled 1 graph"]);
});

test("passwords and certificates of applications that end soon name their connector", async () => {
  const { certificate } = await createAuthority("Test");
  const definitions = [
    {
      name: "AADMA",
      kind: "graph",
      settings: { clientCertificate: `key\n${certificate}`, clientId: "7d1c" },
    },
    { name: "OTHER", kind: "graph", settings: { clientCertificate: "/no/such/file.pem", clientId: "7d1d" } },
    { name: "ADMA", kind: "ad", settings: { url: "ldaps://10.0.0.1:636", serverName: "DC1.corp.example" } },
    { name: "FILES", kind: "file", settings: {} },
  ];
  const ends = Date.parse(new X509Certificate(certificate).validTo);
  const day = 24 * 3_600_000;
  const known = knownCredentials(definitions, ends);
  const recorder = new Recorder();
  let now = ends - 31 * day - 1;
  const { lookAt, stop } = tellSignals(
    recorder,
    () => now,
    (host) => connectorOfHost(definitions, host),
  );
  lookAt(known);
  expect(recorder.events).toEqual([]);
  now += 2 * day;
  lookAt(known);
  lookAt(known);
  certificateSeen.publish({ host: "dc1.corp.example", validTo: ends });
  certificateSeen.publish({ host: "dc9.corp.example", validTo: ends });
  stop();
  expect(recorder.events.map(({ connector, objects }) => [connector, objects])).toEqual([
    ["AADMA", "certificate of the application 7d1c"],
    ["ADMA", "password of the account of ADMA"],
    ["ADMA", "certificate of dc1.corp.example"],
    ["dc9.corp.example", "certificate of dc9.corp.example"],
  ]);
  expect(recorder.events[1]!.remedy).toMatch(/\(29 days\)\. Set a new one in Active Directory/);
});

test("what is told before the receiver is there comes to it in order; one that fails is told of once", async () => {
  const recorder = new Recorder();
  const told: unknown[] = [];
  const lazy = lazyTelemetry(
    async () => recorder,
    (error) => told.push(error),
  );
  lazy.event("RunEnded", { run: "1" });
  lazy.metric("vestibule.objects", 2, {});
  await lazy.flush();
  lazy.event("RunEnded", { run: "2" });
  expect(recorder.events.map(({ run }) => run)).toEqual(["1", "2"]);
  expect(recorder.metrics).toEqual(["vestibule.objects 2"]);

  const broken = lazyTelemetry(
    () => Promise.reject(new Error("no such package")),
    (error) => told.push(error),
  );
  broken.event("RunEnded", {});
  await broken.flush();
  expect(told).toEqual([new Error("no such package")]);
});

test("a webhook gets what somebody should see, again when it was not taken, and its address is not told", async () => {
  const posts: { path: string; body: Record<string, unknown> }[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk) => (text += chunk));
    request.on("end", () => {
      posts.push({ path: request.url!, body: JSON.parse(text) });
      response.statusCode = request.url === "/refuses" || posts.length === 1 ? 500 : 200;
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const failures: string[] = [];
  const overdueMs = 7_200_000;
  const onFailure = (message: string) => void failures.push(message);
  const held = {
    connector: "ADMA",
    status: "stopped-disable-threshold-exceeded",
    objects: "10",
    remedy: "Look.",
  };
  try {
    const json = webhook({ url: `${address}/secret-path`, format: "json", overdueMs, onFailure });
    json.event("RunEnded", { outcome: "succeeded" });
    json.event("ExportHeld", held);
    await json.flush();
    expect(posts.map(({ body }) => body)).toEqual(
      Array(2).fill({
        event: "ExportHeld",
        title: "Somebody has to decide: exports are held, or new rules wait",
        ...held,
      }),
    );
    for (const ageMs of [1, overdueMs + 1, overdueMs + 2, 0, overdueMs + 3])
      json.metric("vestibule.cycle.age", ageMs, {});
    json.metric("vestibule.run.duration", overdueMs + 1, {});
    await json.flush();
    expect(posts.slice(2).map(({ body }) => [body.event, body.remedy])).toEqual(
      Array(2).fill(["CycleOverdue", expect.stringContaining("vestibule runs")]),
    );
    posts.length = 1;
    const teams = webhook({ url: `${address}/teams`, format: "teams", overdueMs, onFailure });
    teams.event("ExportHeld", held);
    await teams.flush();
    const [attachment] = posts.at(-1)!.body.attachments as { contentType: string; content: object }[];
    expect(attachment!.contentType).toBe("application/vnd.microsoft.card.adaptive");
    expect(JSON.stringify(attachment!.content)).toContain('{"title":"connector","value":"ADMA"}');
    expect(failures).toEqual([]);
    const refusing = webhook({ url: `${address}/refuses`, format: "json", overdueMs, onFailure });
    refusing.event("PermissionLost", held);
    await refusing.flush();
  } finally {
    server.closeAllConnections();
    server.close();
  }
  const gone = webhook({ url: `${address}/secret-path`, format: "json", overdueMs, onFailure });
  gone.event("ExportHeld", held);
  await gone.flush();
  expect(failures).toEqual([
    "The webhook answered 500 to PermissionLost. Check WEBHOOK_URL.",
    "The webhook could not be reached for ExportHeld. Check WEBHOOK_URL.",
  ]);
});

test("settings of telemetry are checked at the start", () => {
  const base = { Storage: "UseDevelopmentStorage=true", ServiceBus__fullyQualifiedNamespace: "a" };
  expect(readSettings(base).telemetry).toEqual({
    connectionString: undefined,
    byIdentity: false,
    passwordEnds: undefined,
    webhook: undefined,
  });
  const key = "InstrumentationKey=1;IngestionEndpoint=https://a.example/";
  expect(
    readSettings({
      ...base,
      APPLICATIONINSIGHTS_CONNECTION_STRING: key,
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: "ClientId=1;Authorization=AAD",
      WEBHOOK_URL: "https://hooks.example/1",
      WEBHOOK_FORMAT: "teams",
      CYCLE_OVERDUE_MINUTES: "60",
      AD_BIND_PASSWORD_EXPIRES: "2027-03-31",
    }).telemetry,
  ).toEqual({
    connectionString: key,
    byIdentity: true,
    passwordEnds: Date.parse("2027-03-31T00:00:00Z"),
    webhook: { url: "https://hooks.example/1", format: "teams", overdueMs: 3_600_000 },
  });
  for (const wrong of [
    { APPLICATIONINSIGHTS_CONNECTION_STRING: "abc" },
    { WEBHOOK_URL: "http://hooks.example/secret" },
    { WEBHOOK_URL: "http://127.hooks.example/secret" },
    { WEBHOOK_FORMAT: "xml" },
    { CYCLE_OVERDUE_MINUTES: "soon" },
    { AD_BIND_PASSWORD_EXPIRES: "2027-02-31T" },
  ]) {
    expect(() => readSettings({ ...base, ...wrong })).toThrow(Object.keys(wrong)[0]!);
    expect(() => readSettings({ ...base, ...wrong })).not.toThrow("secret");
  }
});

test("queries, workbook and documentation use the names that are told, and all of them", () => {
  const root = join(import.meta.dirname, "../..");
  const read = (path: string) => readFileSync(join(root, path), "utf8");
  const port = read("src/engine/ports/telemetry.ts");
  const metrics = [...new Set(port.match(/vestibule\.[a-z.]+/g))];
  const events = [...port.matchAll(/\| "([A-Z]\w+)"/g)].map(([, name]) => name!);
  expect([metrics.length, events.length]).toEqual([10, 4]);
  const documented = read("docs/monitoring.md");
  for (const name of [...metrics, ...events]) expect(documented, name).toContain(`\`${name}\``);
  const workbook = read("infra/workbook.json");
  expect(
    [...new Set(workbook.match(/vestibule\.[a-z.]+/g))].filter((name) => !metrics.includes(name)),
  ).toEqual([]);
  for (const [, name] of workbook.matchAll(/name == '([A-Z]\w+)'/g)) expect(events).toContain(name);
});
