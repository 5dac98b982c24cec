/** What must hold at every moment of a history, not only in its end. */
import { shards } from "../../src/engine/core/identity.ts";
import type { StepMessage } from "../../src/engine/ports/bus.ts";
import { listRows, prefixRange } from "../../src/engine/ports/tables.ts";
import { queueOf } from "../../src/engine/runs/protocol.ts";
import { partitionOf } from "../../src/engine/stores/connectorSpaceRows.ts";
import { type Run, RunStore } from "../../src/engine/stores/runs.ts";
import { tableNames } from "../../src/engine/stores/tableNames.ts";
import { type EngineWorld, guestId } from "../support/engineWorld.ts";
import type { MemoryObject } from "../support/memoryConnector.ts";
import { type Edit, guestsMax } from "./history.ts";
import type { TroubledTables } from "./troubledTables.ts";
import { countersOfThoseThatStay } from "./verdict.ts";

/** Edits after which an account may rightly be disabled or deleted. */
const takesAway: ReadonlySet<Edit> = new Set<Edit>([
  "invite",
  "leave",
  "block",
  "softDelete",
  "turnMember",
  "purge",
]);
const disabled = 2n;
/** A connector whose objects nobody provisions: each of them is what a full synchronisation meets. */
const source = "AADMA";
const inboundCounters = [
  ...countersOfThoseThatStay,
  "connectorFilteredRemoveMv",
  "connectorFilteredLeaveMv",
  "connectorDeleteRemoveMv",
  "connectorDeleteLeaveMv",
  "connectorDeleteAddProcessed",
];

export class SafetyWatch {
  readonly #world: EngineWorld;
  readonly #tables: TroubledTables;
  readonly #told: (bug: string) => void;
  /** Not through a process: the watch waits for nobody's turn. */
  readonly #runs: RunStore;
  /** Guests of whom nobody has taken anything away. */
  readonly #entitled = new Set(Array.from({ length: guestsMax }, (_, number) => guestId(number)));

  /** How many objects of the source each full synchronisation found, by run and step. */
  readonly #found = new Map<string, number>();

  constructor(world: EngineWorld, tables: TroubledTables, told: (bug: string) => void) {
    this.#world = world;
    this.#tables = tables;
    this.#told = told;
    this.#runs = new RunStore(tables.inner);
  }

  edits(edit: Edit, guest: string): void {
    if (takesAway.has(edit)) this.#entitled.delete(guest);
  }

  /** A process writes to a directory only while it holds a lease that nobody has taken over. */
  writes(process: number): void {
    const owners = [...this.#tables.leases.values()];
    if (!owners.some((owner) => owner.startsWith(`${process}-`)))
      this.#told(`process ${process} writes to a directory without a lease`);
  }

  beforeWrite(change: string): void {
    if (!change.startsWith("delete ")) return;
    const account = this.#world.accounts.holderOf(change.slice("delete ".length), {});
    if (account !== undefined && this.#isOfEntitled(account))
      this.#told(`${account.dn} is deleted, though nothing was taken from its guest`);
  }

  afterWrite(): void {
    for (const account of this.#world.accounts.listed()) {
      const { userAccountControl: flags } = account.attributes;
      if (typeof flags === "bigint" && (flags & disabled) !== 0n && this.#isOfEntitled(account))
        this.#told(`${account.dn} is disabled, though nothing was taken from its guest`);
    }
  }

  /** To be called before a message is worked on. */
  async receives({ runId, step, shard, seq }: StepMessage): Promise<void> {
    const key = `${runId}/${step}`;
    if (shard !== "main" || seq > 0 || this.#found.has(key)) return;
    const run = (await this.#runs.get(runId))?.run;
    const { type, connector } = run?.steps[step] ?? {};
    if (run?.endedAt !== null || type !== "fullSync" || connector !== source) return;
    let found = 0;
    for (const digit of shards) {
      const query = { partition: partitionOf(source, digit), ...prefixRange("o|"), select: [] };
      found += (await listRows(this.#tables.inner, tableNames.connectorSpace, query)).length;
    }
    this.#found.set(key, found);
  }

  /** Full synchronisations of the source that did not count each of its objects once. */
  async miscounted(): Promise<string[]> {
    const wrong: string[] = [];
    for (const [key, found] of this.#found) {
      const [runId, number] = key.split("/") as [string, string];
      const { run } = (await this.#runs.get(runId))!;
      const { status, statistics, outbound } = run.steps[Number(number)]!;
      if (status !== "success") continue;
      const counted = inboundCounters.reduce((sum, counter) => sum + (statistics[counter] ?? 0), 0);
      if (counted !== found)
        wrong.push(`${key} found ${found} objects and counted ${JSON.stringify({ statistics, outbound })}`);
    }
    return wrong;
  }

  #isOfEntitled({ attributes: { adminDescription: stamp } }: MemoryObject): boolean {
    return typeof stamp === "string" && this.#entitled.has(stamp.slice("User_".length));
  }

  /** Runs that are open side by side and may not be. */
  async overlaps(): Promise<string[]> {
    const open: Run[] = [];
    for (const id of await this.#runs.openIds()) open.push((await this.#runs.get(id))!.run);
    return open.flatMap((one, index) =>
      open
        .slice(index + 1)
        .filter((other) => isExclusive(one) || isExclusive(other) || share(one, other))
        .map((other) => `runs ${one.id} and ${other.id} are open side by side`),
    );
  }
}

const isExclusive = ({ steps }: Run) => steps.some(({ type }) => queueOf(type) === "sync-steps");
const share = (one: Run, other: Run) =>
  one.steps.some(({ connector }) => other.steps.some((step) => step.connector === connector));
