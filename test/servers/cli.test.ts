import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { stripVTControlCharacters as plain } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Api, type Run } from "../../cli/api.ts";
import {
  describeConnector,
  describeConnectors,
  describeMetaverseObject,
  describeObject,
  describeObjects,
} from "../../cli/describe.ts";
import { followRun } from "../../cli/followRun.ts";
import { describeRun } from "../../cli/print.ts";

const cli = join(import.meta.dirname, "../../cli/vestibule.ts");

interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
}
interface Answer {
  readonly status?: number;
  readonly body: unknown;
}

/** Stands for a deployment: answers what a test puts there and keeps what it was asked. */
const answers = new Map<string, Answer | (() => Answer)>();
let calls: Call[] = [];
let server: Server;
let url: string;

beforeAll(async () => {
  server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    const path = request.url ?? "";
    const body = text === "" ? undefined : (JSON.parse(text) as unknown);
    calls.push({ method: request.method ?? "", path, headers: request.headers, body });
    const found = answers.get(`${request.method} ${path}`);
    const answer = typeof found === "function" ? found() : found;
    response.writeHead(answer?.status ?? (answer === undefined ? 404 : 200), {
      "content-type": "application/json",
    });
    response.end(JSON.stringify(answer?.body ?? { title: "Not found", status: 404 }));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  url = `http://127.0.0.1:${(server.address() as { port: number }).port}/api`;
});
afterAll(() => server.close());
beforeEach(() => {
  answers.clear();
  calls = [];
});

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}
function vestibule(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = { PATH: process.env.PATH, VESTIBULE_URL: url, NO_COLOR: "1" };
    execFile(process.execPath, [cli, ...args], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

const startedAt = "2026-01-01T00:00:00.000Z";
const run: Run = {
  id: "r1",
  cycle: "delta",
  trigger: "cli",
  status: "completed-export-errors",
  startedAt,
  endedAt: "2026-01-01T00:01:05.000Z",
  steps: [
    {
      number: 1,
      connector: "AADMA",
      profile: "Delta Import (Stage Only)",
      type: "deltaImport",
      status: "success",
      startedAt,
      endedAt: "2026-01-01T00:00:01.250Z",
      statistics: { stageAdd: 12_345, stageUpdate: 0 },
      detail: "The watermark had expired: this import was full.",
      errors: [],
    },
    {
      number: 2,
      connector: "ADMA",
      profile: "Export",
      type: "export",
      status: "completed-export-errors",
      startedAt: "2026-01-01T00:00:02.000Z",
      endedAt: "2026-01-01T00:01:05.000Z",
      statistics: { exportAdd: 2, exportFailure: 1 },
      errors: [
        {
          code: "constraint-violation",
          dn: "CN=a,OU=G",
          attribute: "mail",
          rule: "AD-B2B-OUT",
          message: "Too long.",
        },
      ],
    },
  ],
};
const running: Run = {
  ...run,
  status: "in-progress",
  endedAt: null,
  steps: [
    run.steps[0]!,
    { ...run.steps[1]!, status: "in-progress", endedAt: null, statistics: { exportAdd: 1 }, errors: [] },
  ],
};

describe("the command line", () => {
  test("commands are the API's calls, named as coming from the command line", async () => {
    answers.set("POST /api/runs", { status: 202, body: running });
    answers.set("GET /api/runs/r1", { body: run });
    answers.set("PUT /api/schedule", {
      body: {
        ...{ suspended: true, changedAt: startedAt, changedBy: "cli", cycleSchedule: "0 0 * * * *" },
        nextCycle: "delta",
        cycleInProgress: null,
        stagingMode: false,
      },
    });
    const where = "/api/metaverse?where=accountName+isPresent&where=employeeType+equals+Guest&limit=50";
    const person = {
      id: "m1",
      objectType: "person",
      attributes: { cn: "Ann", accountName: ["ann", "a.n"], employeeType: { $dt: startedAt } },
      connectors: [{ connector: "AADMA", id: "c1", anchor: "a", dn: "a" }],
    };
    answers.set(`GET ${where}`, { body: { items: [person], continuation: "next" } });
    const [start, shown, schedule, search] = await Promise.all([
      vestibule("run", "AADMA", "Full Import (Stage Only)", "--key", "k1"),
      vestibule("run", "show", "r1"),
      vestibule("schedule", "suspend"),
      vestibule("metaverse", "search", "accountName isPresent", "employeeType equals Guest"),
    ]);
    expect(start.out).toContain("Started run r1");
    expect(shown.out).toContain("delta cycle completed-export-errors");
    expect(schedule.out).toMatch(/^Scheduler +suspended since 2026-01-01 00:00:00 UTC, by cli$/m);
    // What was searched for and the usual attributes, as far as they are there.
    expect(search.out).toMatch(/Id .*Type .*accountName .*employeeType .*Connectors/);
    expect(search.out).not.toContain("displayName");
    expect(search.out).toMatch(new RegExp(`m1 .*person .*ann….*${startedAt} .*AADMA`));
    expect(search.out).toContain("--continuation 'next'");
    expect([start.code, shown.code, schedule.code, search.code]).toEqual([0, 0, 0, 0]);

    const posted = calls.find(({ method }) => method === "POST");
    expect(posted?.body).toEqual({ connector: "AADMA", profile: "Full Import (Stage Only)" });
    expect(posted?.headers).toMatchObject({ "x-vestibule-trigger": "cli", "x-functions-key": "k1" });
    expect(calls.find(({ method }) => method === "PUT")?.body).toEqual({ suspended: true });
  });

  test("--wait follows the run, and its exit code says how the run ended", async () => {
    answers.set("POST /api/runs", { status: 202, body: running });
    answers.set("GET /api/runs/r1", { body: run });
    const [bad, json] = await Promise.all([
      vestibule("cycle", "delta", "--wait"),
      vestibule("cycle", "delta", "--wait", "--json"),
    ]);
    expect(bad.code).toBe(1);
    expect(bad.out).toContain(
      "[2/2] ADMA Export  completed-export-errors  1 min 3 s  exportAdd 2, exportFailure 1",
    );
    expect(JSON.parse(json.out)).toEqual(run);

    answers.set("GET /api/runs/r1", { body: { ...run, status: "success" } });
    expect((await vestibule("cycle", "delta", "--wait")).code).toBe(0);
  });

  test("a problem, a silent address and an unhealthy deployment are one clear message each", async () => {
    const problem = {
      title: "No such connector",
      detail: "There is no connector ADMAA.",
      status: 404,
      code: "connector-not-found",
      suggestions: ["ADMA", "AADMA"],
    };
    answers.set("POST /api/runs", { status: 404, body: problem });
    const health = { status: "degraded", checks: [{ name: "ad", status: "failed", message: "No route." }] };
    answers.set("GET /api/health", { status: 503, body: health });
    const [unknown, raw, silent, unhealthy, usage] = await Promise.all([
      vestibule("run", "ADMAA", "Export"),
      vestibule("run", "ADMAA", "Export", "--json"),
      vestibule("runs", "--url", "http://127.0.0.1:1/api"),
      vestibule("health"),
      vestibule("schedule", "pause"),
    ]);
    expect(unknown).toEqual({
      code: 1,
      out: "",
      err: 'No such connector: There is no connector ADMAA.\nDid you mean "ADMA", "AADMA"?\n',
    });
    expect(JSON.parse(raw.err)).toEqual(problem);
    expect(silent.code).toBe(1);
    expect(silent.err).toMatch(/^Nothing answers at http:\/\/127\.0\.0\.1:1\/api .*npm start.*\n$/);
    expect([unhealthy.code, unhealthy.out]).toEqual([
      1,
      expect.stringMatching(/degraded[\s\S]*ad .*failed .*No route/),
    ]);
    expect([usage.code, usage.err]).toEqual([1, expect.stringContaining('"pause"')]);
  });
});

describe("connectors and objects", () => {
  const item = {
    ...{
      id: "c1",
      objectType: "user",
      anchor: "a1",
      dn: "CN=Ann,DC=a",
      state: "connector",
      metaverseId: "m1",
    },
    ...{ pendingImport: null, pendingExport: "update", unconfirmedExport: null, errorCode: null },
  };

  test("a connector shows what is pending and what it needs", () => {
    const connector = {
      ...{ name: "ADMA", kind: "ad", runProfiles: [{ name: "Export", type: "export" }] },
      counts: { objects: 1_234, connectors: 1_200, disconnectors: 34, errors: 0 },
      pendingImports: { add: 0, update: 0 },
      pendingExports: { add: 2, update: 0, delete: 1 },
      ...{ watermarkAt: startedAt, lastFullImportAt: null },
      ...{ fullImportRequired: true, fullSynchronizationRequired: true },
      exportsHeld: null,
      lastRuns: [{ ...run, cycle: "delta", endedAt: run.endedAt! }],
    };
    const all = plain(describeConnectors([connector]));
    const one = plain(describeConnector(connector));
    expect(all).toMatch(/ADMA .*ad .*1,234 .*1,200 .*34 .*none .*add 2, delete 1 .*full import, full synchr/);
    expect(all).not.toContain("Errors");
    expect(one).toMatch(/^Last import up to +2026-01-01 00:00:00 UTC$/m);
    expect(one).toMatch(/^Last full import +never$/m);
    expect(one).toMatch(/r1 .*delta cycle .*completed-export-errors .*1 min 5 s/);
  });

  test("an object has a column for each image; GUIDs and SIDs look as in Windows", () => {
    const attributes = {
      objectGUID: { $bin: "DaTkdyjZxkS8drWusGmwBQ==" },
      objectSid: { $bin: "AQUAAAAAAAUVAAAAfEzHhi2pf9AS1MvGTwQAAA==" },
      mail: "ann@a",
    };
    const tower = {
      ...{ pendingImport: null, escrowedExport: null, unconfirmedExport: null },
      synchronized: { objectType: "user", dn: "CN=Ann,DC=a", attributes },
      pendingExport: {
        ...{ change: "update", reason: "flow" },
        attributes: [
          { name: "mail", before: "ann@a", rule: "r" },
          { name: "sn", after: ["Lee"], rule: "r" },
        ],
      },
    };
    const error = {
      ...{ phase: "export", code: "permission-issue", message: "Grant it.", retryCount: 2 },
      firstOccurred: startedAt,
    };
    const still = { absence: null, held: [], hold: null };
    const list = plain(describeObjects([item]));
    const object = plain(describeObject({ ...item, ...still, connector: "ADMA", tower, error }));
    expect(list).toMatch(/Anchor .*DN .*State .*Pending export/);
    expect(list).not.toMatch(/Pending import|Error/);
    expect(object).toMatch(/Attribute .*Synchronized .*Pending export: update/);
    expect(object).toMatch(/objectGUID .*77e4a40d-d928-44c6-bc76-b5aeb069b005/);
    expect(object).toMatch(/objectSid .*S-1-5-21-2261208188-3498027309-3335246866-1103/);
    expect(object).toMatch(/mail .*ann@a .*\(removed\)/);
    expect(object).toMatch(/sn .*Lee/);
    expect(object).toMatch(
      /^Error +permission-issue in export since 2026-01-01 00:00:00 UTC, tried again 2 times\n +Grant it\.$/m,
    );
  });

  test("a metaverse object shows where every value comes from, and what was not used", () => {
    const offer = (value: string, rule: string, won: boolean) => ({
      ...{ value, connector: "AADMA", rule, precedence: won ? 100 : 110, since: won ? startedAt : null, won },
      ...{ expression: `[${rule}]`, reason: won ? "It goes first." : "It loses." },
    });
    const lineage = { mail: [offer("ann@a", "R1", true), offer("ann@b", "R2", false)] };
    const hold = { metaverseId: "m1", why: "Legal.", by: "ann", since: startedAt, until: null };
    const about = { id: "m1", objectType: "person", connectors: [] };
    const person = { ...about, attributes: { mail: "ann@a" }, lineage, hold };
    const shown = plain(describeMetaverseObject(person));
    expect(shown).toMatch(
      /mail .*ann@a .*AADMA .*R1 .*\[R1\] .*100 .*2026-01-01 00:00:00 UTC[\s\S]*not used .*ann@b .*R2 .*110 .*It loses/,
    );
    expect(shown).toContain(
      "m1 is on hold since 2026-01-01 00:00:00 UTC, until it is released, by ann: Legal.",
    );
  });
});

describe("a run on the terminal", () => {
  test("what a directory has said moves no cursor and colours nothing, as an answer or as an error", async () => {
    const said = "\u001b[2J\u001b]0;title\u0007\u202ename";
    answers.set("GET /api/runs/r1", { body: { ...run, steps: [{ ...run.steps[0], detail: said }] } });
    answers.set("GET /api/runs/r2", {
      status: 404,
      body: { status: 404, code: "not-found", title: said, detail: said },
    });
    const both = await Promise.all([vestibule("run", "show", "r1"), vestibule("run", "show", "r2")]);
    for (const { out, err } of both) {
      expect(out + err).toContain("name");
      expect(out + err).not.toMatch(/[^\P{Cc}\n]|\u202e/u);
    }
  });

  test("the address may end before its /api, and a key or a token is never sent in plain to another machine", async () => {
    answers.set("GET /api/runs/r1", { body: run });
    const short = new Api({ url: `${new URL(url).origin}/`, key: "k1", trigger: "cli" });
    expect((await short.run("r1")).id).toBe("r1");
    for (const host of ["vestibule.example", "127.vestibule.example", "localhost:1@vestibule.example"])
      for (const secret of [{ key: "k1" }, { token: "t1" }]) {
        const plain = new Api({ url: `http://${host}/api`, ...secret, trigger: "cli" });
        await expect(plain.run("r1")).rejects.toThrow("over https only");
      }
  });

  test("its table has the counters that are not zero, then details and errors", () => {
    const text = plain(describeRun(run));
    expect(text).toMatch(/1 .*AADMA .*Delta Import \(Stage Only\) .*success .*1\.3 s .*stageAdd 12,345/);
    expect(text).not.toContain("stageUpdate");
    expect(text).toContain("Step 1: The watermark had expired");
    expect(text).toContain(
      "Step 2: constraint-violation CN=a,OU=G (attribute mail, rule AD-B2B-OUT): Too long.",
    );
    expect(text).toMatch(/started .* by cli, took 1 min 5 s\.$/);
  });

  /** Follows a run whose API answers these one after the other, the last one again and again. */
  async function follow(states: readonly Answer[], isTerminal: boolean): Promise<string> {
    const left = [...states];
    answers.set("GET /api/runs/r1", () => (left.length > 1 ? left.shift()! : left[0]!));
    const written: string[] = [];
    const out = { write: (text: string) => written.push(text) };
    const api = new Api({ url, trigger: "cli" });
    await followRun(api, "r1", { out, isTerminal, pollMs: 1, plainEveryMs: 0 });
    return plain(written.join(""));
  }
  const later: Run = {
    ...running,
    steps: [
      running.steps[0]!,
      { ...running.steps[1]!, statistics: { exportAdd: 2 }, lastError: "AD does not answer." },
    ],
  };
  const finished = "[1/2] AADMA Delta Import (Stage Only)  success  1.3 s  stageAdd 12,345";

  test("plain output has a line for each step and for each growth of its counters", async () => {
    const text = await follow([{ body: running }, { body: running }, { body: later }, { body: run }], false);
    expect(text.split("\n")).toEqual([
      finished,
      "[2/2] ADMA Export  in-progress  exportAdd 1",
      "[2/2] ADMA Export  in-progress  exportAdd 2  AD does not answer.",
      "[2/2] ADMA Export  completed-export-errors  1 min 3 s  exportAdd 2, exportFailure 1",
      "",
    ]);
  });

  test("a terminal's last line is written over, and an API that is away for a while is waited for", async () => {
    const away = { status: 503, body: { title: "Starting" } };
    const text = await follow([{ body: running }, away, { body: run }], true);
    const lines = text.split(/\n|\r/);
    expect(lines).toContain(finished);
    expect(lines).toContain("The API does not answer; waiting for it.");
    expect(lines.filter((line) => line.startsWith("[2/2]")).at(-1)).toContain("completed-export-errors");
  });
});

describe("export plans", () => {
  const item = { id: "1", anchor: null, dn: "CN=a", change: "add", reason: "r", attributes: [] };
  const plan = {
    connector: "ADMA",
    hash: "ab".repeat(32),
    state: "pending",
    createdAt: startedAt,
    expiresAt: startedAt,
    counts: { add: 2 },
    items: [item],
    onHold: [],
  };

  test("are read page by page, and written whole as a page, with what is on hold", async () => {
    const hold = { metaverseId: "m1", why: "Legal.", by: "ann", since: startedAt, until: null };
    answers.set("GET /api/connectors/ADMA/export-plan?limit=1000", {
      body: { ...plan, continuation: "c", onHold: [{ dn: "CN=carl", change: "delete", hold }] },
    });
    answers.set("GET /api/connectors/ADMA/export-plan?limit=1000&continuation=c", {
      body: { ...plan, items: [{ ...item, dn: "CN=b" }] },
    });
    answers.set("GET /api/connectors/ADMA", { body: { exportsHeld: null } });
    const file = join(mkdtempSync(join(tmpdir(), "plan-")), "plan.html");
    expect(await vestibule("plan", "ADMA", "--html", file)).toMatchObject({ code: 0, out: "" });
    const page = readFileSync(file, "utf8");
    rmSync(dirname(file), { recursive: true });
    expect(page).toContain("<bdi>CN=a</bdi>");
    expect(page).toContain("<bdi>CN=b</bdi>");
    expect(page).toContain("<bdi>CN=carl</bdi>");
  });

  test("are approved by hash, with a reason", async () => {
    answers.set("POST /api/connectors/ADMA/export-plan/approve", { status: 202, body: run });
    const { out, code } = await vestibule("approve", "ADMA", plan.hash, "--why", "Expected.");
    expect({ out, code }).toMatchObject({ out: expect.stringContaining("Started run r1"), code: 0 });
    expect(calls.at(-1)!.body).toEqual({ hash: plan.hash, why: "Expected." });
    expect((await vestibule("approve", "ADMA", plan.hash)).err).toContain("--why");
  });
});
