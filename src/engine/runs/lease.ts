import { StoreError } from "../ports/tables.ts";
import { type Claim, LeaseLost } from "../stores/fence.ts";
import type { Checkpoint, CheckpointStore, StoredCheckpoint } from "../stores/runs.ts";

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
}

/**
 * The lease of one (run, step, shard): the right to write, taken in the checkpoint row and renewed there.
 *
 * All changes of the row go one after the other through here. Somebody else may change `attempt` and `notBefore` under
 * us (a duplicate message that met the held lease); that is adopted. A higher epoch means that we have lost it.
 */
export class Lease implements Claim {
  readonly #store: CheckpointStore;
  readonly #clock: Clock;
  readonly #leaseMs: number;
  #stored: StoredCheckpoint;
  #lost = false;
  #tail: Promise<unknown> = Promise.resolve();
  #verification: Promise<unknown> = Promise.resolve();
  #nextVerification: Promise<void> | null = null;

  private constructor(store: CheckpointStore, clock: Clock, leaseMs: number, stored: StoredCheckpoint) {
    this.#store = store;
    this.#clock = clock;
    this.#leaseMs = leaseMs;
    this.#stored = stored;
  }

  /** @throws StoreError "conflict" when somebody else was faster. */
  static async take(
    store: CheckpointStore,
    clock: Clock,
    leaseMs: number,
    stored: StoredCheckpoint,
    owner: string,
  ): Promise<Lease> {
    const now = clock.now();
    const taken = await store.update(stored, {
      ...stored.checkpoint,
      leaseOwner: owner,
      leaseUntil: now + leaseMs,
      epoch: stored.checkpoint.epoch + 1,
      updatedAt: now,
    });
    return new Lease(store, clock, leaseMs, taken);
  }

  get runId(): string {
    return this.#stored.key.runId;
  }
  get step(): number {
    return this.#stored.key.step;
  }
  get shard(): string {
    return this.#stored.key.shard;
  }
  get epoch(): number {
    return this.#stored.checkpoint.epoch;
  }
  get checkpoint(): Checkpoint {
    return this.#stored.checkpoint;
  }

  /** Milliseconds that are left of the lease. */
  get remainingMs(): number {
    return this.#lost ? 0 : this.#stored.checkpoint.leaseUntil - this.#clock.now();
  }

  /** Many that ask at once share one look, which begins after the last of them has asked. */
  verify(): Promise<void> {
    this.#nextVerification ??= this.#verification.then(() => {
      this.#nextVerification = null;
      const look = this.#look();
      this.#verification = look.catch(() => undefined); // those who asked see how it ended
      return look;
    });
    return this.#nextVerification;
  }

  async #look(): Promise<void> {
    if (this.#lost) throw new LeaseLost(this);
    const found = await this.#store.get(this.#stored.key);
    if (found === undefined || found.checkpoint.epoch !== this.epoch) throw this.#loose();
  }

  /** Moves the row and renews the lease. @throws LeaseLost */
  save(change: Partial<Checkpoint>): Promise<void> {
    return this.#enqueue(() => this.#write({ ...change, leaseUntil: this.#clock.now() + this.#leaseMs }));
  }

  /** Moves the row and gives the lease back. @throws LeaseLost */
  release(change: Partial<Checkpoint>): Promise<void> {
    return this.#enqueue(() => this.#write({ ...change, leaseOwner: null, leaseUntil: 0 }));
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const result = this.#tail.then(work);
    // The next change does not depend on how this one ended; its own caller sees the error.
    this.#tail = result.catch(() => undefined);
    return result;
  }

  async #write(change: Partial<Checkpoint>): Promise<void> {
    for (;;) {
      if (this.#lost) throw new LeaseLost(this);
      try {
        this.#stored = await this.#store.update(this.#stored, {
          ...this.#stored.checkpoint,
          ...change,
          updatedAt: this.#clock.now(),
        });
        return;
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
        const found = await this.#store.get(this.#stored.key);
        if (found === undefined || found.checkpoint.epoch !== this.epoch) throw this.#loose();
        if (found.checkpoint.seq > this.#stored.checkpoint.seq) {
          // Only we move it: the work was handed over, and it was the answer that got lost. To write the row as we
          // know it would take back what a successor may be working on already.
          if (found.checkpoint.seq !== change.seq) throw this.#loose();
          this.#stored = found;
          return;
        }
        const { attempt, notBefore } = found.checkpoint;
        this.#stored = { ...found, checkpoint: { ...this.#stored.checkpoint, attempt, notBefore } };
      }
    }
  }

  #loose(): LeaseLost {
    this.#lost = true;
    return new LeaseLost(this);
  }
}
