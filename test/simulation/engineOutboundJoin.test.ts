/** Outbound rules that join what is there already, and what they give while they take an object (SEMANTICS R4, R7, R11). */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { loadConfiguration } from "../../src/engine/configuration/loadConfiguration.ts";
import type { Configuration } from "../../src/engine/core/configuration.ts";
import { anyKinds, recipeSettings } from "../fast/support/guestWorld.ts";
import { EngineWorld, guestOu } from "../support/engineWorld.ts";

/** The recipe, but accounts are made by somebody else: the outbound rule joins them by their stamp. */
function joining(): Configuration {
  const directory = mkdtempSync(join(tmpdir(), "vestibule-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  cpSync("config", directory, { recursive: true });
  rmSync(join(directory, "rules/AD-B2B-IN.yaml"));
  const path = join(directory, "rules/AD-B2B-OUT.yaml");
  const rule = readFileSync(path, "utf8")
    .replace("linkType: provision", "linkType: join")
    .replace(/\n {2}- target: dn\n(?: {4}.*\n)+/, "\n")
    .replace(
      "value: Guest }",
      "value: Guest }\n    - { attribute: displayName, operator: NOTEQUAL, value: Leaver }",
    )
    .replace(
      "\nflows:",
      "\njoin:\n  - - { connectorAttribute: adminDescription, metaverseAttribute: adminDescription }\nflows:",
    );
  writeFileSync(path, rule);
  return loadConfiguration(directory, recipeSettings, anyKinds);
}

test("links accounts that are there, makes none, recalls its values and lets go when the person leaves its scope", async () => {
  const world = new EngineWorld({ configuration: joining() });
  const known = world.addGuest(1);
  const unknown = world.addGuest(2);
  const dn = `CN=Somebody,${guestOu}`;
  world.accounts.add(dn, { adminDescription: `User_${known}`, userAccountControl: 262656n, info: "theirs" });
  await world.cycle("initial");
  await world.cycle("delta");
  expect(world.accountsOf(unknown)).toEqual([]);
  expect(world.accounts.listed()).toHaveLength(1);
  expect(world.accountsOf(known)[0]!.attributes).toMatchObject({
    displayName: `Guest ${known}`,
    employeeType: "Guest",
  });

  world.guests.change(known, { displayName: "Leaver" });
  await world.cycle("delta");
  await world.cycle("delta");
  const [account] = world.accounts.listed();
  expect(account!.attributes).toMatchObject({ info: "theirs", userAccountControl: 262656n });
  for (const recalled of ["displayName", "mail", "sn", "givenName", "employeeType"])
    expect(account!.attributes).not.toHaveProperty(recalled);
  const { disconnectors } = await world.engine.connectorSpace.totals("ADMA");
  expect(disconnectors).toBe(1);
  world.accounts.change(account!.anchor, { displayName: "by hand" });
  await world.cycle("delta");
  expect(world.accounts.listed()[0]!.attributes.displayName).toBe("by hand");
});
