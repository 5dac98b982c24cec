/** What is billed: requests to the tables and messages, counted. `npm run bench` measures the same for more objects. */
import { beforeAll, describe, expect, test } from "vitest";
import { Deployment } from "../../bench/deployment.ts";
import { requestsOf } from "../../bench/tables.ts";
import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";

async function settled(guests: number): Promise<Deployment> {
  const deployment = new Deployment(new MemoryTables(), guests);
  await deployment.cycle("initial");
  await deployment.cycle("delta");
  return deployment;
}

async function withTenChanges(deployment: Deployment): Promise<number> {
  for (let change = 0; change < 10; change++) deployment.guests.rename(change * 19);
  return requestsOf((await deployment.cycle("delta")).requests);
}

describe("a delta cycle", () => {
  let small: Deployment;
  let large: Deployment;
  beforeAll(async () => {
    small = await settled(200);
    large = await settled(2_000);
  });

  test("with nothing to do, whatever the population, costs fewer than 60 requests, its start by the timer included, and 7 messages", async () => {
    for (const deployment of [small, large]) {
      const { requests, messages } = await deployment.timer();
      expect(requestsOf(requests)).toBeLessThan(60);
      expect(messages).toBe(7);
    }
  });

  test("with ten changes costs the same, within a tenth", async () => {
    const [few, many] = [await withTenChanges(small), await withTenChanges(large)];
    expect(Math.abs(many - few) / few).toBeLessThan(0.1);
  });

  // Sixteen shards have their price, so a small population pays more for each: together, 0.05 from 10,000 objects on.
  test.each([
    ["Full Import (Stage Only)", 45, 0.01],
    ["Full Synchronization", 220, 0.01],
  ])(
    "is cheaper than a %s, which costs %d requests and %d for each object that has not changed, at most",
    async (profile, basic, perObject) => {
      for (const connector of ["AADMA", "ADMA"]) {
        const [few, many] = [
          await small.profile(connector, profile),
          await large.profile(connector, profile),
        ];
        expect(requestsOf(few.requests)).toBeLessThan(basic);
        expect((requestsOf(many.requests) - requestsOf(few.requests)) / 1_800).toBeLessThan(perObject);
      }
    },
  );
});
