/** examples/forests-to-entra: it checks, and it has the rules that administrators know. */
import { expect, test } from "vitest";
import { connectorKinds } from "../../src/connectors.ts";
import { checkConfiguration } from "../../src/engine/configuration/checkConfiguration.ts";
import { configurationFiles } from "../../src/engine/configuration/loadConfiguration.ts";

const ad = {
  URL: "ldaps://dc1",
  BIND_DN: "CN=svc,DC=x",
  BIND_PASSWORD: "x",
  BASE_DN: "DC=x",
  OU: "OU=y,DC=x",
};
const settings = {
  ...Object.fromEntries(
    ["AD", "RESOURCE_AD"].flatMap((prefix) =>
      Object.entries(ad).map(([name, value]) => [`${prefix}_${name}`, value]),
    ),
  ),
  UPN_SUFFIX: "contoso.com",
};

test("the example checks without a warning, and has the rules of the Rules Editor for both forests", async () => {
  const files = configurationFiles("examples/forests-to-entra");
  const { configuration, errors, warnings } = await checkConfiguration(files, settings, connectorKinds);
  expect([...errors, ...warnings]).toEqual([]);
  const rules = new Map(configuration!.rules.rules.map((rule) => [rule.name, rule]));
  for (const forest of ["", " (RESOURCES)"]) {
    expect(rules.get(`In from AD - User Join${forest}`)).toMatchObject({ linkType: "provision" });
    expect(rules.get(`In from AD - User AccountEnabled${forest}`)).toMatchObject({
      linkType: "join",
      join: [],
    });
  }
  expect(rules.get("Out to AAD - Group Join")!.scope).toHaveLength(2);
  // Whatever a person has from the account that is enabled goes before what it has from the others.
  const precedences = (name: string) =>
    [...rules.values()].filter((rule) => rule.name.includes(name)).map(({ precedence }) => precedence);
  expect(Math.max(...precedences("AccountEnabled"))).toBeLessThan(Math.min(...precedences("User Common")));
});
