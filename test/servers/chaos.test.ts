/**
 * Three function hosts on one broker and one Azurite against Samba over LDAPS, killed with SIGKILL at random while guests
 * change and cycles are started, for one minute; `CHAOS_MINUTES=30` makes it half an hour. `CHAOS_SEED=N` repeats what
 * was done; the processes themselves run as they run.
 */
import { appendFileSync, cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Page, Run } from "../../cli/api.ts";
import { type SambaServer, sambaAvailable } from "../../sandbox/samba/samba.ts";
import { readAccounts } from "../../sandbox/verify.ts";
import { Chance } from "../simulator/random.ts";
import { Chain, startTestSamba } from "../support/chain.ts";

const samba = sambaAvailable();
const skip = samba.ok ? false : samba.reason;
const chaosMs = Number(process.env.CHAOS_MINUTES ?? 1) * 60_000;
const seed = Number(process.env.CHAOS_SEED ?? Date.now() % 1_000_000);
const chance = new Chance(seed);
const guestsAtFirst = 40;
/** A host that has just been started is let live for so long, that it may begin something. */
const lifeMs = 3_000;
/** What there is of it at least; a slow machine takes the time that it needs for it. */
const killsMin = Math.ceil(chaosMs / 15_000);
const changesMin = Math.ceil(chaosMs / 5_000);
const slownessMaxMs = 240_000;
const patienceMs = 600_000;
const disabled = "262658";

interface GraphUser {
  readonly id: string;
  readonly state: "active" | "deleted" | "purged";
}

describe.skipIf(skip)(`three hosts are killed at random${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let server: SambaServer;
  let chain: Chain;
  const configuration = mkdtempSync(join(tmpdir(), "vestibule-chaos-"));

  beforeAll(async () => {
    // So many guests are blocked and deleted here that the limits would hold the exports, as they should.
    cpSync(join(import.meta.dirname, "../../config"), configuration, { recursive: true });
    for (const name of ["AADMA", "ADMA"])
      appendFileSync(
        join(configuration, `connectors/${name}.yaml`),
        "limits: { percentFrom: 1000000, shrinkPercent: 100 }\n",
      );
    server = await startTestSamba("chaos");
    chain = await Chain.start({
      guests: guestsAtFirst,
      hosts: 3,
      samba: server,
      name: "chaos",
      lockDurationMs: 5_000,
      // A killed host's work is taken over after 9 s and not 90; the timers start cycles and wake what hangs.
      settings: {
        CONFIG_DIR: configuration,
        RUN_LEASE_SECONDS: "6",
        CYCLE_SCHEDULE: "*/15 * * * * *",
        WATCHDOG_SCHEDULE: "*/10 * * * * *",
      },
    });
  });
  afterAll(async () => {
    await chain?.stop();
    await server?.stop();
    rmSync(configuration, { recursive: true });
  });

  test(
    "while guests change: every guest has exactly one account, right, and the history is complete",
    async () => {
      console.log(`chaos: ${chaosMs / 1000} s, CHAOS_SEED=${seed}`);
      const tenant = new Tenant(chain);
      const killer = new Killer(chain);
      const begunAt = Date.now();
      const isOver = () => {
        const ms = Date.now() - begunAt;
        const isEnough = killer.kills >= killsMin && tenant.changes >= changesMin;
        return ms >= chaosMs && (isEnough || ms >= chaosMs + slownessMaxMs);
      };
      await Promise.all([
        killer.killUntil(isOver),
        tenant.changeUntil(isOver),
        startCyclesUntil(chain, isOver),
      ]);
      const { kills } = killer;
      await patiently(() =>
        chain.api("/schedule", { method: "PUT", body: JSON.stringify({ suspended: true }) }),
      );
      const runs = await allEnded(chain);
      console.log(
        `chaos: ${kills} kills, ${tenant.changes} changes, ${runs.length} runs in ${Math.round((Date.now() - begunAt) / 1000)} s`,
      );
      expect(kills).toBeGreaterThanOrEqual(killsMin);
      expect(tenant.changes).toBeGreaterThanOrEqual(changesMin);

      const cycle = async (name: "delta" | "initial") =>
        chain.ended((await chain.start({ cycle: name })).id, patienceMs);
      await cycle("delta");
      await cycle("initial");
      const last = await cycle("delta");
      expect([last.status, last.steps.flatMap(({ errors }) => errors)]).toEqual(["success", []]);

      const users = await tenant.users();
      const active = users.filter(({ state }) => state === "active");
      expect(await chain.verify()).toEqual({ guests: active.length, right: active.length, problems: [] });
      const accounts = await readAccounts(chain.platform.settings);
      const byStamp = Map.groupBy(accounts, ({ adminDescription }) => adminDescription ?? "");
      expect([...byStamp].filter(([, { length }]) => length > 1)).toEqual([]);
      const known = new Map(users.map((user) => [`User_${user.id}`, user]));
      expect(accounts.filter(({ adminDescription }) => !/^User_/.test(adminDescription ?? ""))).toEqual([]);
      // The tenant knows nothing of a guest who was purged; the account waits out its grace, disabled.
      for (const account of accounts) {
        if (known.get(account.adminDescription!)?.state !== "active")
          expect([account.dn, account.userAccountControl]).toEqual([account.dn, disabled]);
      }

      const history = await runsOf(chain);
      for (const { id, status, endedAt, steps } of history) {
        expect({ id, status, endedAt }).toEqual({ id, status: "success", endedAt: expect.any(String) });
        for (const step of steps)
          expect({ id, ...step }).toMatchObject({
            id,
            status: "success",
            endedAt: expect.any(String),
            errors: [],
          });
      }
      // Each account was counted where it was made, once, whoever died meanwhile.
      const added = history
        .flatMap(({ steps }) => steps)
        .reduce((sum, { statistics }) => sum + (statistics?.exportAdd ?? 0), 0);
      expect(added).toBe(accounts.length);
      for (const connector of ["AADMA", "ADMA"]) {
        const { pendingImports, pendingExports } = await chain.api<Record<string, unknown>>(
          `/connectors/${connector}`,
        );
        expect({ connector, pendingImports, pendingExports }).toEqual({
          connector,
          pendingImports: { add: 0, update: 0, delete: 0, deleteAdd: 0 },
          pendingExports: { add: 0, update: 0, delete: 0 },
        });
      }
    },
    chaosMs + slownessMaxMs + 2 * patienceMs,
  );
});

/** Guests come, change and go, by the tenant's administrator. */
class Tenant {
  readonly #chain: Chain;
  changes = 0;

  constructor(chain: Chain) {
    this.#chain = chain;
  }

  async users(): Promise<GraphUser[]> {
    const states = ["active", "deleted", "purged"];
    const lists = await Promise.all(
      states.map((state) =>
        this.#chain.graph<{ users: GraphUser[] }>("GET", `/users?userType=Guest&state=${state}&top=9999`),
      ),
    );
    return lists.flatMap(({ users }) => users);
  }

  async changeUntil(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await this.#change();
      this.changes++;
      await sleep(chance.integer(100, 1_500));
    }
  }

  async #change(): Promise<void> {
    const users = await this.users();
    const active = users.filter(({ state }) => state === "active");
    const deleted = users.filter(({ state }) => state === "deleted");
    const user = `/users/${chance.one(active).id}`;
    const what = chance.integer(0, 9);
    if (what <= 2) await this.#chain.graph("POST", "/guests", { count: chance.integer(1, 5) });
    else if (what <= 4) await this.#chain.graph("PATCH", user, { displayName: `Changed ${this.changes}` });
    else if (what === 5) await this.#chain.graph("PATCH", user, { mail: `new${this.changes}@example.org` });
    else if (what === 6) await this.#chain.graph("POST", `${user}/block`);
    else if (what === 7) await this.#chain.graph("POST", `${user}/unblock`);
    else if (what === 8) await this.#chain.graph("DELETE", user);
    else if (deleted.length > 0)
      await this.#chain.graph(
        "POST",
        `/users/${chance.one(deleted).id}/${chance.happens(0.8) ? "restore" : "purge"}`,
      );
  }
}

class Killer {
  readonly #chain: Chain;
  kills = 0;

  constructor(chain: Chain) {
    this.#chain = chain;
  }

  async killUntil(isOver: () => boolean): Promise<void> {
    const seen = new Map<number, number>();
    while (!isOver()) {
      await sleep(chance.integer(2_000, 9_000));
      const hosts = Object.entries(this.#chain.hosts());
      for (const [, id] of hosts) if (!seen.has(id)) seen.set(id, Date.now());
      const grown = hosts.filter(([, id]) => Date.now() - seen.get(id)! > lifeMs && isAlive(id));
      // Now and then all at once.
      const victims = grown.length === 0 || chance.happens(0.15) ? grown : [chance.one(grown)];
      for (const [, id] of victims) {
        if (!isAlive(id)) continue;
        process.kill(id, "SIGKILL");
        this.kills++;
      }
    }
  }
}

function isAlive(id: number): boolean {
  try {
    process.kill(id, 0);
    return true;
  } catch {
    return false; // it was killed, and the next one is not there yet
  }
}

/** Refused while another run is open, and unanswered while the first host is down. */
async function startCyclesUntil(chain: Chain, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    await chain.start({ cycle: chance.happens(0.8) ? "delta" : "initial" }).catch(() => undefined);
    await sleep(chance.integer(500, 3_000));
  }
}

/** The first host may just be starting. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (tries === 60) throw error;
      await sleep(500);
    }
  }
}

async function runsOf(chain: Chain): Promise<Run[]> {
  const runs: Run[] = [];
  for (let query = ""; ; ) {
    const page = await chain.api<Page<Run>>(`/runs?limit=100${query}`);
    runs.push(...page.items);
    if (page.continuation === undefined) break;
    query = `&continuation=${encodeURIComponent(page.continuation)}`;
  }
  return Promise.all(runs.map(({ id }) => chain.run(id)));
}

/** Waits until no run is open; a cycle that waited for another may begin yet. */
async function allEnded(chain: Chain): Promise<Run[]> {
  const until = Date.now() + patienceMs;
  for (let quiet = 0; ; ) {
    // A host may be coming back from its last kill: asked again, until the time is up.
    const runs = await chain.api<Page<Run>>("/runs?limit=100").catch(() => undefined);
    const open = runs?.items.filter(({ endedAt }) => !endedAt);
    quiet = open?.length === 0 ? quiet + 1 : 0;
    if (quiet === 3) return runsOf(chain);
    if (Date.now() > until) throw new Error(`These runs have not ended: ${JSON.stringify(open)}`);
    await sleep(500);
  }
}
