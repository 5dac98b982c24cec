/**
 * Sets of rules: the guest recipe, changed in ways that can be combined, and for each what it wants of the accounts,
 * told without the engine.
 */
import { globSync, readFileSync } from "node:fs";
import type { Configuration } from "../../src/engine/core/configuration.ts";
import { readConfiguration } from "../../src/engine/core/readConfiguration.ts";
import { type Attributes, type AttributeValue, isReference } from "../../src/engine/core/values.ts";
import { anyKinds, recipeSettings, withoutRulesConnector } from "../fast/support/guestWorld.ts";
import type { EngineWorld } from "../support/engineWorld.ts";
import type { MemoryObject } from "../support/memoryConnector.ts";

export const variations = [
  /** Accounts say behind the name that they are guests'. */
  "suffix",
  /** A rule of higher precedence names guests whose name begins with VIP. */
  "vip",
  /** Blocked guests are out of the source's scope. */
  "unblockedOnly",
  /** Guests whose name begins with Leaver have no account. */
  "leavers",
  /** A guest's manager is the account's. */
  "managers",
  /** Accounts are found by their CN before their stamp. */
  "joinByName",
] as const;
export type Variation = (typeof variations)[number];

const vipRule = `name: AAD-VIP
direction: inbound
connector: AADMA
connectorObjectType: user
metaverseObjectType: person
linkType: join
precedence: 90
scope:
  - - { attribute: displayName, operator: STARTSWITH, value: VIP }
flows:
  - { target: displayName, expression: '"Dr. " & [displayName]' }
`;

const replacements: Readonly<
  Record<Exclude<Variation, "vip">, readonly (readonly [string, string, string])[]>
> = {
  suffix: [
    [
      "rules/AD-B2B-OUT.yaml",
      "{ target: displayName, source: displayName }",
      `{ target: displayName, expression: '[displayName] & " (Guest)"' }`,
    ],
  ],
  unblockedOnly: [
    [
      "rules/AAD-B2B-IN.yaml",
      "value: Guest }",
      "value: Guest }\n    - { attribute: accountEnabled, operator: EQUAL, value: true }",
    ],
  ],
  leavers: [
    [
      "rules/AD-B2B-OUT.yaml",
      "value: Guest }",
      "value: Guest }\n    - { attribute: displayName, operator: NOTSTARTSWITH, value: Leaver }",
    ],
  ],
  managers: ["rules/AAD-B2B-IN.yaml", "rules/AD-B2B-OUT.yaml"].map((file) => [
    file,
    "\nflows:",
    "\nflows:\n  - { target: manager, source: manager }",
  ]),
  joinByName: [
    [
      "rules/AD-B2B-IN.yaml",
      "join:",
      "join:\n  - - { connectorAttribute: cn, metaverseAttribute: uid }\n  - - { connectorAttribute: mail, metaverseAttribute: email }",
    ],
  ],
};

/** What every set has, so that a connector's schema stays what it is when rules change. */
const always: readonly (readonly [string, string, string])[] = [
  ["connectors/AADMA.yaml", "    attributes:", "    attributes:\n      - manager\n      - notes"],
  ["connectors/ADMA.yaml", "    attributes:", "    attributes:\n      - manager\n      - comment"],
  [
    "metaverse.yaml",
    "    attributes:",
    "    attributes:\n      - { name: manager, type: reference }\n      - { name: notes, type: string }",
  ],
  ["rules/AAD-B2B-IN.yaml", "\nflows:", "\nflows:\n  - { target: notes, source: notes }"],
  ["rules/AD-B2B-OUT.yaml", "\nflows:", "\nflows:\n  - { target: comment, source: notes }"],
];

const made = new Map<string, Configuration>();

/** @param broken with a rule that does not check; such a set has no configuration, only texts */
export function ruleSet(chosen: readonly Variation[], withRulesConnector: boolean): Configuration {
  const key = JSON.stringify([[...chosen].sort(), withRulesConnector]);
  let configuration = made.get(key);
  if (configuration === undefined) {
    const whole = readConfiguration(files(chosen), recipeSettings, anyKinds);
    configuration = withRulesConnector ? whole : withoutRulesConnector(whole);
    made.set(key, configuration);
  }
  return configuration;
}

function files(chosen: readonly Variation[]) {
  const changes = [...always, ...chosen.flatMap((one) => (one === "vip" ? [] : replacements[one]))];
  const texts = globSync("config/{connectors,rules,cycles,.}/*.yaml")
    .sort()
    .map((file) => {
      let text = readFileSync(file, "utf8");
      for (const [path, from, to] of changes) {
        if (file !== `config/${path}`) continue;
        if (!text.includes(from)) throw new Error(`${path} does not say ${JSON.stringify(from)}.`);
        text = text.replace(from, to);
      }
      return { file, text };
    });
  return chosen.includes("vip") ? [...texts, { file: "config/rules/AAD-VIP.yaml", text: vipRule }] : texts;
}

/** The files of a set that is refused. */
export function brokenTexts(configuration: Configuration): Configuration["ruleTexts"] {
  return configuration.ruleTexts.map(({ file, text }) => ({
    file,
    text: text.replace("source: surname", "source: surnaem"),
  }));
}

export type Wanted =
  /** The account must be there, with these values. */
  | { readonly kind: "account"; readonly attributes: Readonly<Record<string, AttributeValue | undefined>> }
  /** It may be there still, but disabled. */
  | { readonly kind: "disabledOrNone" }
  | { readonly kind: "none" };

/** Whether the variation "leavers" leaves the guest without an account. */
export function isLeaver({ displayName }: Attributes): boolean {
  return String(displayName).startsWith("Leaver");
}

/** What the set wants of a guest's account. */
export function wantedOf(chosen: readonly Variation[], world: EngineWorld, guest: MemoryObject): Wanted {
  const { anchor, attributes, gone } = guest;
  const name = String(attributes.displayName);
  const isEnabled = attributes.accountEnabled === true;
  // Whoever is gone keeps the last values that were seen in scope, whatever changed with it.
  if (gone !== null || (chosen.includes("unblockedOnly") && !isEnabled)) return { kind: "disabledOrNone" };
  if (chosen.includes("leavers") && isLeaver(attributes)) return { kind: "none" };
  const title = chosen.includes("vip") && name.startsWith("VIP") ? "Dr. " : "";
  const mayLogOn = isEnabled && attributes.externalUserState !== "PendingAcceptance";
  return {
    kind: "account",
    attributes: {
      sAMAccountName: anchor.slice(0, 20),
      userPrincipalName: attributes.userPrincipalName,
      displayName: `${title}${name}${chosen.includes("suffix") ? " (Guest)" : ""}`,
      givenName: attributes.givenName,
      sn: attributes.surname,
      mail: attributes.mail,
      employeeType: "Guest",
      comment: attributes.notes,
      adminDescription: `User_${anchor}`,
      userAccountControl: mayLogOn ? 262656n : 262658n,
      ...(chosen.includes("managers") ? { manager: managerOf(world, attributes.manager) } : {}),
    },
  };
}

/** The account of the guest whom the value refers to, if there is one. */
function managerOf(world: EngineWorld, value: AttributeValue | undefined): AttributeValue | undefined {
  if (value === undefined || !isReference(value)) return undefined;
  const dn = world.accountsOf(value.dn)[0]?.dn;
  return dn === undefined ? undefined : { ...value, dn };
}
