/** Any order of run profiles with edits in between, over the real engine. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";

const profiles = [
  "Full Import (Stage Only)",
  "Full Synchronization",
  "Delta Import (Stage Only)",
  "Delta Synchronization",
  "Export",
];
const hour = 3_600_000;

type Step = (world: EngineWorld) => unknown;
const guestsMax = 6;

/** Edits of a guest that is there in the way that the edit needs; nothing otherwise. */
const edit = (number: number, work: (world: EngineWorld, id: string) => void, gone = false): Step => {
  return (world) => {
    const guest = world.guests.objects.get(guestId(number));
    if (guest !== undefined && (guest.gone !== null) === gone) work(world, guest.anchor);
  };
};

const stepArbitrary: fc.Arbitrary<readonly [string, Step]> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom("AADMA", "ADMA"), fc.constantFrom(...profiles))
      .filter(([connector, profile]) => connector === "ADMA" || profile !== "Export")
      .map(([connector, profile]): readonly [string, Step] => [
        `${connector} ${profile}`,
        (world) => world.profile(connector, profile),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc
      .integer({ min: 1, max: 80 })
      .map((effects): readonly [string, Step] => [
        `the process dies after ${effects} effects`,
        (world) => world.restart(effects),
      ]),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom<readonly [string, Step]>([
      "a month passes",
      (world) => {
        world.now += 31 * 24 * hour;
      },
    ]),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat(guestsMax - 1), fc.nat(7)).map(([number, kind]): readonly [string, Step] => {
      const edits: readonly (readonly [string, Step])[] = [
        ["rename", edit(number, (world, id) => world.guests.change(id, { displayName: `N${world.now}` }))],
        ["block", edit(number, (world, id) => world.guests.change(id, { accountEnabled: false }))],
        ["unblock", edit(number, (world, id) => world.guests.change(id, { accountEnabled: true }))],
        ["delete", edit(number, (world, id) => world.guests.remove(id, "softDeleted"))],
        ["restore", edit(number, (world, id) => world.guests.restore(id), true)],
        [
          "add",
          (world) => {
            if (!world.guests.objects.has(guestId(number))) world.addGuest(number);
          },
        ],
        [
          "unstamped account",
          (world) => {
            const dn = `CN=${guestId(number)},${guestOu}`;
            if (world.accounts.holderOf(dn, {}) === undefined)
              world.accounts.add(dn, { userAccountControl: 262656n });
          },
        ],
        [
          "account moved within the OU",
          (world) => {
            const [account] = world.accountsOf(guestId(number));
            const dn = `CN=${guestId(number)},OU=Moved,${guestOu}`;
            if (account !== undefined) world.accounts.rename(account.anchor, dn);
          },
        ],
      ];
      const [name, work] = edits[kind]!;
      return [`${name} ${number}`, work];
    }),
  },
);

test("no order of run profiles makes a second account or person, and a full cycle sets all right", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(stepArbitrary, { minLength: 4, maxLength: 14 }),
      fc.boolean(),
      async (steps, detectsDuplicates) => {
        const world = new EngineWorld({ detectsDuplicates });
        for (let number = 0; number < 3; number++) world.addGuest(number);
        const done: string[] = [];
        for (const [name, work] of steps) {
          world.now += hour;
          await work(world);
          done.push(name);
          for (const guest of world.guests.objects.keys()) {
            expect([guest, world.accountsOf(guest).length <= 1]).toEqual([guest, true]);
          }
          const persons = [...(await world.persons())].filter(([, ids]) => ids.length > 1);
          expect([done, persons]).toEqual([done, []]);
        }
        world.restart();
        await world.cycle("initial");
        await world.cycle("delta");
        const living = [...world.wanted()].filter(([id]) => world.guests.objects.get(id)!.gone === null);
        const wrong = world.wrong(new Map(living)).filter((one) => !one.includes("should not be there"));
        expect([done, wrong, await world.outstanding()]).toEqual([done, [], []]);
        for (const { anchor, gone } of world.guests.objects.values()) {
          const accounts = world.accountsOf(anchor);
          expect(accounts.length).toBeLessThanOrEqual(1);
          if (gone !== null) {
            for (const account of accounts) expect(account.attributes.userAccountControl).toBe(262658n);
          }
        }
      },
    ),
    { numRuns: 12 },
  );
});
