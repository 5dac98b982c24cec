/** Rules and their versions as the API shows them, and what a person does with them: with who and why in the audit. */
import { type Configuration, ConfigurationError } from "./core/configuration.ts";
import { readRuleTexts } from "./core/readRules.ts";
import { editedFile } from "./core/ruleDocuments.ts";
import { synchronizationKey } from "./core/ruleVersions.ts";
import type { Engine } from "./engine.ts";
import type { Page } from "./queries.ts";
import { type Doer, NoRulesConnector } from "./ruleVersions.ts";
import { isoTime } from "./runs/engine.ts";
import type { RulesHead, RulesVersion } from "./stores/rules.ts";

export class RuleAdministration {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** The rules as the next import of the rules connector sees them, and how they stand to the active version. */
  async rules(): Promise<object> {
    const { rules } = this.#engine;
    const [head, status, items] = await Promise.all([rules.head(), rules.status(), rules.rules()]);
    return {
      active: head.active?.version ?? null,
      pinned: head.pinnedAgainst !== null,
      candidate: head.candidate && {
        state: head.candidate.state,
        version: head.candidate.version,
        since: head.candidate.at,
        reasons: head.candidate.reasons,
      },
      message: status.message,
      items: items.map(publicRule),
    };
  }

  /** Null: there is no such rule. */
  async rule(name: string): Promise<object | null> {
    const found = (await this.#engine.rules.rules()).find((rule) => rule.name === name);
    return found === undefined ? null : { ...publicRule(found), text: found.text };
  }

  /**
   * Stages a rule in the place of its file, for the next import.
   * @throws ConfigurationError when the text is no rule, or one of another name; NoRulesConnector
   */
  async put(name: string, text: string, doer: Doer): Promise<object> {
    const file = editedFile(name);
    const [rule] = readRuleTexts([{ file, text }]);
    if (rule!.name !== name) {
      const message = `The rule is called ${JSON.stringify(rule!.name)}, not ${JSON.stringify(name)}.`;
      const remedy = "Put it under its own name.";
      throw new ConfigurationError([{ file, line: 1, column: 1, message, remedy }]);
    }
    const problems = await this.#engine.rules.edit(name, text, doer);
    await this.#audit("editRule", doer, { rule: name });
    return { ...(await this.rule(name)), problems };
  }

  /** @returns false: there is no such rule. @throws NoRulesConnector */
  async remove(name: string, doer: Doer): Promise<boolean> {
    if (this.#engine.rulesConnector === null) throw new NoRulesConnector();
    if ((await this.rule(name)) === null) return false;
    await this.#engine.rules.edit(name, null, doer);
    await this.#audit("deleteRule", doer, { rule: name });
    return true;
  }

  async versions(limit: number, continuation?: string): Promise<Page<object>> {
    const { rules } = this.#engine;
    const [head, page] = await Promise.all([rules.head(), rules.versions(limit, continuation)]);
    const items = page.versions.map((version) => publicVersion(version, head));
    return page.continuation === undefined ? { items } : { items, continuation: page.continuation };
  }

  /**
   * Approves a version that waits, or rolls back to an earlier one.
   * @throws UnknownVersion, NoRulesConnector, ConfigurationError
   */
  async activate(wanted: string, doer: Doer): Promise<object> {
    const { rules } = this.#engine;
    const { active: before } = await rules.head();
    const version = await rules.activate(wanted, doer);
    await this.#audit("activateRules", doer, {
      version: version.version,
      before: before?.version ?? null,
      // What was approved with it, if anything.
      ...(version.reasons.length === 0 ? {} : { reasons: version.reasons.join(" ") }),
    });
    const affected = await this.#affected(await rules.active());
    return { ...publicVersion(version, await rules.head()), fullSynchronizationRequired: affected };
  }

  /** The connectors that the next cycle synchronises in full, by itself. */
  async #affected(active: Configuration): Promise<readonly string[]> {
    const { configuration, rulesConnector, state } = this.#engine;
    const names = [...configuration.connectors.keys()].filter((name) => name !== rulesConnector);
    const states = await Promise.all(names.map((name) => state.get(name)));
    return names.filter(
      (name, index) => states[index]!.synchronizedRules !== synchronizationKey(active, name),
    );
  }

  async #audit(
    what: string,
    { by, why }: Doer,
    details: Readonly<Record<string, string | number | null>>,
  ): Promise<void> {
    const { audit, options, rulesConnector } = this.#engine;
    await audit.add({
      at: isoTime(options.clock.now()),
      who: by,
      what,
      about: rulesConnector === null ? {} : { connector: rulesConnector },
      why: why === "" ? null : why,
      details,
    });
  }
}

function publicRule({
  name,
  file,
  origin,
  edit,
}: Awaited<ReturnType<Engine["rules"]["rules"]>>[number]): object {
  const edited = edit === null ? {} : { editedBy: edit.by, editedAt: edit.at, why: edit.why };
  return { name, file, origin, ...edited };
}

function publicVersion(
  { version, set, createdAt, author, why, counts, reasons, effect, activated }: RulesVersion,
  { active, candidate }: RulesHead,
): object {
  const isActive = active?.version === version;
  const waits = candidate?.state === "waiting" && candidate.version === version;
  return {
    version,
    hash: set,
    state: isActive ? "active" : waits ? "waiting" : activated === null ? "superseded" : "former",
    active: isActive,
    author,
    createdAt,
    why,
    counts,
    reasons,
    effect,
    activatedAt: activated?.at ?? null,
    activatedBy: activated?.by ?? null,
    activatedWhy: activated?.why ?? null,
  };
}
