import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Page, Run } from "../../cli/api.ts";
import type { PlatformFile } from "../../sandbox/platform.ts";

const root = join(import.meta.dirname, "../..");
const state = join(root, `.test/platform-${process.pid}`);
// A directory that is named is not started; nothing here reads it.
const environment = { PATH: process.env.PATH, AD_URL: "ldaps://127.0.0.1:1", NO_COLOR: "1" };

class Supervisor {
  readonly lines: string[] = [];
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;

  constructor(args: readonly string[] = [], env: Record<string, string> = {}) {
    this.process = spawn(
      process.execPath,
      [
        join(root, "sandbox/start.ts"),
        ...["--app", join(root, "test/fixtures/cycleApp"), "--state", state],
        ...args,
      ],
      { env: { ...environment, ...env }, stdio: ["ignore", "pipe", "pipe"] },
    );
    for (const stream of [this.process.stdout!, this.process.stderr!]) {
      createInterface(stream).on("line", (line) => this.lines.push(line));
    }
    this.ended = new Promise((resolve) => this.process.once("close", (code) => resolve(code)));
  }

  async says(text: string | RegExp): Promise<string> {
    for (let tries = 0; tries < 1200; tries++) {
      const line = this.lines.find((one) => (typeof text === "string" ? one.includes(text) : text.test(one)));
      if (line !== undefined) return line;
      await sleep(50);
    }
    throw new Error(`The supervisor never said ${text}:\n${this.lines.join("\n")}`);
  }
}

const stateFile = <Content>(name: string) => JSON.parse(readFileSync(join(state, name), "utf8")) as Content;
const processes = () => stateFile<Record<string, number>>("processes.json");
const platform = () => stateFile<PlatformFile>("platform.json");
const runs = async () => ((await (await fetch(`${platform().api}/runs`)).json()) as Page<Run>).items;

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
async function gone(pids: readonly number[]): Promise<boolean> {
  for (let tries = 0; tries < 100; tries++) {
    if (!pids.some(isAlive)) return true;
    await sleep(50);
  }
  return false;
}

describe("the local platform", () => {
  let supervisor: Supervisor;
  beforeAll(() => {
    supervisor = new Supervisor(["--port", "0", "--guests", "3"]);
  });
  afterAll(async () => {
    supervisor.process.kill("SIGTERM");
    await supervisor.ended;
    rmSync(state, { recursive: true, force: true });
  });

  test("an empty state begins with an initial cycle, shown step by step and then as a table", async () => {
    await supervisor.says("Ctrl-C stops");
    const text = supervisor.lines.join("\n");
    expect(text).toMatch(/^API http:\/\/127\.0\.0\.1:\d+\/api$/m);
    expect(text).toMatch(
      /^\[1\/2\] AADMA Full Import \(Stage Only\) {2}success {2}\d\.\d s {2}stageAdd 1,234$/m,
    );
    expect(text).toContain("initial cycle success");
    expect(text).toMatch(/curl .*\/metaverse\?where=/);
    const [run] = await runs();
    expect(run).toMatchObject({ cycle: "initial", trigger: "start", status: "success" });
  });

  test("platform.json says where everything is, without its secrets", async () => {
    const { graph, ad } = platform();
    expect(ad).toEqual({ url: "ldaps://127.0.0.1:1" });
    expect(graph).toEqual({
      url: expect.stringMatching(/^https:/),
      ca: expect.any(String),
      tokenFile: join(state, "graph-token"),
      admin: expect.any(String),
    });
    expect(readFileSync(graph.tokenFile!, "utf8").length).toBeGreaterThan(10);
    expect(Object.keys(processes()).sort()).toEqual(["azurite", "broker", "graph", "host", "supervisor"]);
  });

  test("a killed host comes back at the same address", async () => {
    const { host } = processes();
    process.kill(host!, "SIGKILL");
    await supervisor.says("host ended by SIGKILL; it is started again.");
    await expect.poll(async () => (await runs().catch(() => [])).length, { timeout: 10_000 }).toBe(1);
    expect(processes().host).not.toBe(host);
  });

  test("two platforms never share a state, and a port in use is refused", async () => {
    const second = new Supervisor(["--port", "0"]);
    expect(await second.ended).toBe(1);
    expect(second.lines.join("\n")).toContain(
      `in use by the platform with process id ${processes().supervisor}`,
    );

    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((done) => taken.once("listening", done));
    const { port } = taken.address() as { port: number };
    const third = new Supervisor(["--port", String(port)]);
    expect(await third.ended).toBe(2);
    expect(third.lines.join("\n")).toContain(`Port ${port} is in use.`);
    taken.close();
  });

  test("a killed supervisor leaves nothing running, and the next start goes on from its state", async () => {
    const pids = Object.values(processes());
    supervisor.process.kill("SIGKILL");
    await supervisor.ended;
    supervisor = new Supervisor(["--port", "0"]);
    await supervisor.says("Ctrl-C stops");
    expect(await gone(pids)).toBe(true);
    expect(supervisor.lines.join("\n")).not.toContain("[1/2]");
    expect(await runs()).toHaveLength(1);
  });

  test("a tenant of another size is not put in the place of the one that is there", async () => {
    supervisor.process.kill("SIGTERM");
    await supervisor.ended;
    supervisor = new Supervisor(["--port", "0", "--guests", "4"]);
    expect(await supervisor.ended).toBe(2);
    expect(supervisor.lines.at(-1)).toMatch(
      /was made with --guests 3, not 4\. Leave --guests out .* --fresh\.$/,
    );
    supervisor = new Supervisor(["--port", "0"]);
    await supervisor.says("Ctrl-C stops");
  });

  test("SIGTERM stops everything and frees the state", async () => {
    const pids = Object.values(processes());
    supervisor.process.kill("SIGTERM");
    expect(await supervisor.ended).toBe(0);
    expect(await gone(pids)).toBe(true);
    for (const name of ["processes.json", "platform.json", "lock"])
      expect(existsSync(join(state, name))).toBe(false);
  });

  test("a host that dies before it answers is waited for, and the cycle that it made is not made twice", async () => {
    rmSync(state, { recursive: true, force: true });
    supervisor = new Supervisor(["--port", "0", "--guests", "3"], { DIES_WITHOUT_ANSWER: "1" });
    await supervisor.says("Ctrl-C stops");
    expect(supervisor.lines.join("\n")).toContain("initial cycle success");
    expect(await runs()).toHaveLength(1);
    supervisor.process.kill("SIGTERM");
    await supervisor.ended;
  });

  test("two platforms that are started at once have two ports", async () => {
    const folders = [`${state}-one`, `${state}-other`];
    const both = folders.map((folder) => new Supervisor(["--state", folder, "--guests", "3"]));
    const addresses = await Promise.all(both.map((one) => one.says(/^API http:[^ ]+$/)));
    expect(new Set(addresses).size).toBe(2);
    for (const { process: one } of both) one.kill("SIGTERM");
    expect(await Promise.all(both.map(({ ended }) => ended))).toEqual([0, 0]);
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });

  test("a setting that the app refuses ends the start with exit code 2 and its message alone", async () => {
    supervisor = new Supervisor(["--port", "0"], { AD_BIND_DN: "wrong" });
    expect(await supervisor.ended).toBe(2);
    expect(supervisor.lines.at(-1)).toBe("AD_BIND_DN: there is no account named wrong.");
    expect(supervisor.lines.join("\n")).not.toContain("    at ");
  });
});
