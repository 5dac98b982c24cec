/** The whole product as a newcomer runs it (every process of the local platform), against a real Samba domain. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Run } from "../../cli/api.ts";
import { Platform, type PlatformFile } from "../../sandbox/platform.ts";
import { type SambaServer, startSamba } from "../../sandbox/samba/samba.ts";
import { type Verification, verifyAccounts } from "../../sandbox/verify.ts";

const root = join(import.meta.dirname, "../..");
const never = "0 0 0 1 1 *";

export interface ChainOptions {
  readonly guests: number;
  readonly settings?: Readonly<Record<string, string>>;
  readonly lockDurationMs?: number;
  /** Processes of the function host; default one. */
  readonly hosts?: number;
  readonly samba: SambaServer;
  readonly name: string;
}

export interface Statistics {
  readonly [counter: string]: number;
}

/** App settings that point the product at this domain controller. */
export function sambaSettings(samba: SambaServer): Record<string, string> {
  return {
    AD_URL: samba.url,
    AD_BIND_DN: samba.serviceAccount.dn,
    AD_BIND_PASSWORD: samba.serviceAccount.password,
    AD_CA_CERTIFICATE: samba.caFile,
    AD_SERVER_NAME: samba.serverName,
    AD_BASE_DN: samba.baseDn,
    GUEST_OU: samba.guestOu,
  };
}

export class Chain {
  readonly platform: Platform;
  readonly samba: SambaServer;
  readonly state: string;

  private constructor(platform: Platform, samba: SambaServer, state: string) {
    this.platform = platform;
    this.samba = samba;
    this.state = state;
  }

  static async start({
    guests,
    settings = {},
    lockDurationMs,
    hosts = 1,
    samba,
    name,
  }: ChainOptions): Promise<Chain> {
    const state = join(root, `.test/${name}-${process.pid}`);
    const platform = await Platform.start({
      appDirectory: root,
      stateDirectory: state,
      fresh: true,
      port: 0,
      hosts,
      directory: "sandbox",
      guests,
      ...(lockDurationMs === undefined ? {} : { lockDurationMs }),
      settings: { ...sambaSettings(samba), CYCLE_SCHEDULE: never, ...settings },
      say: () => undefined,
    });
    return new Chain(platform, samba, state);
  }

  get file(): PlatformFile {
    return JSON.parse(readFileSync(join(this.state, "platform.json"), "utf8"));
  }

  async api<Body>(path: string, init: RequestInit = {}): Promise<Body> {
    const response = await fetch(`${this.platform.api}${path}`, init);
    const body = (await response.json()) as Body;
    if (!response.ok)
      throw Object.assign(new Error(`${path}: ${response.status} ${JSON.stringify(body)}`), { body });
    return body;
  }

  /** The Graph sandbox's own admin endpoint. */
  async graph<Body>(method: string, path: string, body?: unknown): Promise<Body> {
    const response = await fetch(`${this.file.graph.admin}/admin${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    const text = await response.text();
    return (text === "" ? undefined : JSON.parse(text)) as Body;
  }

  start(what: { cycle: string } | { connector: string; profile: string }): Promise<Run> {
    return this.api<Run>("/runs", { method: "POST", body: JSON.stringify(what) });
  }

  run(id: string): Promise<Run> {
    return this.api<Run>(`/runs/${id}`);
  }

  async ended(id: string, timeoutMs = 120_000): Promise<Run> {
    const until = Date.now() + timeoutMs;
    for (;;) {
      // The host may just be down: that is what some tests are about.
      const run = await this.run(id).catch((error) => {
        if (Date.now() > until) throw error;
        return undefined;
      });
      if (run?.endedAt) return run;
      if (Date.now() > until) throw new Error(`run ${id} has not ended: ${JSON.stringify(run)}`);
      await sleep(100);
    }
  }

  async cycle(name: "initial" | "delta"): Promise<Run> {
    return this.ended((await this.start({ cycle: name })).id);
  }

  async profile(connector: string, profile: string): Promise<Run> {
    return this.ended((await this.start({ connector, profile })).id);
  }

  verify(): Promise<Verification> {
    return verifyAccounts(this.platform.settings);
  }

  /** Process ids of the function hosts: `host`, `host-2`, … */
  hosts(): Readonly<Record<string, number>> {
    const processes: Record<string, number> = JSON.parse(
      readFileSync(join(this.state, "processes.json"), "utf8"),
    );
    return Object.fromEntries(Object.entries(processes).filter(([name]) => name.startsWith("host")));
  }

  killHost(name = "host"): void {
    process.kill(this.hosts()[name]!, "SIGKILL");
  }

  async stop(): Promise<void> {
    await this.platform.stop();
    rmSync(this.state, { recursive: true, force: true });
  }
}

/** What the steps of a run have counted: connector, type, counters. */
export function counted(run: Run): [string, string, Statistics][] {
  return run.steps.map(({ connector, type, statistics }) => [
    connector,
    type as string,
    statistics as Statistics,
  ]);
}

/** A domain controller as it is after provisioning, whatever an earlier run has left in its folder. */
export async function startTestSamba(name: string): Promise<SambaServer> {
  const server = await startSamba({ dir: join(root, `.test/samba-${name}`), readDeleted: true });
  await server.reset();
  return server;
}
