import {
  type Configuration,
  ConfigurationError,
  type ConfigurationFile,
  type ConfigurationProblem,
  describeProblem,
  withSchemas,
} from "./core/configuration.ts";
import { compileRuleTexts, type Deployment, readRuleTexts } from "./core/readRules.ts";
import {
  countsOver,
  documentsOf,
  editedFile,
  type RuleDocument,
  type RuleSource,
  sourceOf,
  textHash,
  withEdits,
} from "./core/ruleDocuments.ts";
import {
  compareRuleSets,
  partsOfVersion,
  type RuleSetChanges,
  ruleSetHash,
  rulesVersionOf,
  synchronizationKey,
} from "./core/ruleVersions.ts";
import { ConnectorError, type ObjectTypeSchema } from "./ports/connector.ts";
import { isoTime } from "./runs/engine.ts";
import type { Clock } from "./runs/lease.ts";
import type { Tried } from "./runs/rulesTrial.ts";
import {
  type RuleEdit,
  type RulesEffect,
  type RulesHead,
  type RulesStore,
  type RulesVersion,
  type StoredHead,
  shortReasons,
  together,
} from "./stores/rules.ts";

/** There is no version of this number or hash. */
export class UnknownVersion extends Error {
  constructor(version: string) {
    super(`There is no version ${version} of the rules. GET /rules/versions lists them.`);
    this.name = "UnknownVersion";
  }
}

/** The deployment has no rules connector: its rules are those of its files, whatever they are. */
export class NoRulesConnector extends Error {
  constructor() {
    super(
      "This configuration has no connector of the kind rules, so its rules are those of its files. Add one, as config/connectors/MIMMA.yaml does.",
    );
    this.name = "NoRulesConnector";
  }
}

/** What a person, or a cycle on behalf of one, gives as the reason of a change. */
export interface Doer {
  readonly by: string;
  readonly why: string;
}

export type RulesDecision =
  /** What it would do is to be worked out first, against the set with this hash. */
  | { readonly kind: "try"; readonly against: string; readonly version: string }
  /** Somebody has activated another version while it was tried out: that stands. */
  | { readonly kind: "overtaken"; readonly version: number }
  /** The set is the active one already. */
  | { readonly kind: "active" }
  | { readonly kind: "activated"; readonly version: RulesVersion }
  | { readonly kind: "refused"; readonly problems: readonly ConfigurationProblem[] }
  | { readonly kind: "waiting"; readonly version: RulesVersion };

export interface RulesStatus {
  readonly status: "healthy" | "warning" | "failed";
  readonly message: string;
}

export interface RuleVersionsParts {
  readonly store: RulesStore;
  readonly clock: Clock;
  readonly deployment: Deployment;
  /** The rules of the files as they are now. */
  readonly files: () => readonly ConfigurationFile[];
  /** The name of the connector of kind `rules`; null: there is none. */
  readonly connector: string | null;
  /** The schemas of those directories that can be asked now. */
  readonly schemas: () => Promise<ReadonlyMap<string, readonly ObjectTypeSchema[]>>;
}

/**
 * Which rules are active (DESIGN section 2): a set is activated whole or not at all.
 *
 *   files, edits ──► set ──► does not check ─────────────────────────► refused: the active version stays
 *                            withdraws a rule, or does too much ─────► waits: the active version stays
 *                            anything else ──────────────────────────► activated as the next version
 *
 * An activation is one compare and swap of the head row; the set's texts are stored before. A process that dies on
 * the way leaves the old head or the new one.
 */
export class RuleVersions {
  readonly #parts: RuleVersionsParts;
  readonly #rest: string;
  readonly #compiled = new Map<string, Promise<Configuration>>();
  #fromFiles: RuleSource | null = null;
  /** What the head was when the edits were read: they need not be read again while it says the same. */
  #edits: { readonly count: number; readonly edits: readonly RuleEdit[] } = { count: 0, edits: [] };

  /** @param initial what the process has begun with, compiled already */
  constructor(parts: RuleVersionsParts, initial: Configuration) {
    this.#parts = parts;
    const { set, rest } = partsOfVersion(initial.rulesVersion);
    this.#rest = rest;
    this.#compiled.set(set, Promise.resolve(initial));
  }

  // ---- what a run works with -------------------------------------------------------------------------------------

  /**
   * The version for a new run. With the first run ever the set of the files becomes active, or the run cannot start.
   * @throws ConfigurationError
   */
  async forRun(doer: Doer): Promise<{ readonly rulesVersion: string; readonly stored: StoredHead }> {
    const { connector, store } = this.#parts;
    for (;;) {
      const stored = await store.head();
      const { active } = stored.head;
      const texts = connector === null || active === null ? this.#files() : null;
      const set = texts === null ? active!.set : ruleSetHash(texts);
      if (active?.set === set) return { rulesVersion: rulesVersionOf(set, this.#rest), stored };
      if (!this.#compiled.has(set)) compileRuleTexts(texts!, this.#parts.deployment);
      const changed = await this.#activate(stored, texts!, doer, { edits: [] });
      if (changed !== null) return { rulesVersion: rulesVersionOf(set, this.#rest), stored: changed.stored };
    }
  }

  /**
   * The compiled rules of a version.
   * @throws ConnectorError "configuration" when it is no longer stored, or does not fit this deployment
   */
  compiled(rulesVersion: string): Promise<Configuration> {
    const { set } = partsOfVersion(rulesVersion);
    let compiled = this.#compiled.get(set);
    if (compiled === undefined) {
      compiled = this.#compile(set);
      compiled.catch(() => this.#compiled.delete(set)); // the caller gets the error, the next one tries again
      this.#compiled.set(set, compiled);
    }
    return compiled;
  }

  async #compile(set: string): Promise<Configuration> {
    const texts = await this.#parts.store.texts(set);
    if (texts === null)
      throw new ConnectorError(
        "configuration",
        `The rule set ${set} of this run is no longer stored. Start a new run.`,
      );
    try {
      return compileRuleTexts(texts, this.#parts.deployment);
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      throw new ConnectorError(
        "configuration",
        `The active rules do not check with the connectors and the metaverse of this deployment: ${error.message}`,
      );
    }
  }

  /** The version of the active rules. @throws ConfigurationError before the first activation */
  async activeVersion(): Promise<string> {
    const { active } = (await this.#parts.store.head()).head;
    return active === null ? (await this.active()).rulesVersion : rulesVersionOf(active.set, this.#rest);
  }

  /** The active rules, those of the files before the first activation. */
  async active(): Promise<Configuration> {
    const { head } = await this.#parts.store.head();
    const { active } = head;
    if (active === null) return compileRuleTexts(this.#files(), this.#parts.deployment);
    return this.compiled(rulesVersionOf(active.set, this.#rest));
  }

  /** Whether a delta import and synchronisation of the rules connector would find nothing to do. */
  async isSettled({ head }: StoredHead, hasPending: () => Promise<boolean>): Promise<boolean> {
    const { set } = await this.#source(head);
    if (head.decided !== rulesVersionOf(set, this.#rest)) return false;
    return head.candidate !== null || !(await hasPending());
  }

  // ---- where rules come from -------------------------------------------------------------------------------------

  async source(): Promise<RuleSource> {
    return this.#source((await this.#parts.store.head()).head);
  }

  async #source(head: RulesHead): Promise<RuleSource> {
    const given = await this.#given(head);
    if (head.pinnedAgainst === null || head.pinnedAgainst !== given.set || head.active === null) return given;
    const texts = await this.#parts.store.texts(head.active.set);
    return texts === null ? given : sourceOf(documentsOf(texts), true);
  }

  /** The files and the edits over them, whatever is pinned. */
  async #given(head: RulesHead): Promise<RuleSource> {
    const files = this.#documents();
    if (head.edits === 0) return files;
    return sourceOf(withEdits(files.documents, await this.#editsOf(head)));
  }

  /** The files, read as rules anew only when they have changed. */
  #documents(): RuleSource {
    const texts = this.#files();
    if (this.#fromFiles?.set !== ruleSetHash(texts)) this.#fromFiles = sourceOf(documentsOf(texts));
    return this.#fromFiles;
  }

  async #editsOf({ edits: count }: RulesHead): Promise<readonly RuleEdit[]> {
    if (this.#edits.count !== count)
      this.#edits = { count, edits: count === 0 ? [] : await this.#parts.store.edits() };
    return this.#edits.edits;
  }

  #files(): readonly ConfigurationFile[] {
    return this.#parts.files();
  }

  // ---- checking and activating -----------------------------------------------------------------------------------

  /** What is wrong with a set, by the schemas of the directories where they can be asked. */
  async check(texts: readonly ConfigurationFile[]): Promise<readonly ConfigurationProblem[]> {
    const { deployment, schemas } = this.#parts;
    try {
      const configuration = compileRuleTexts(texts, deployment);
      compileRuleTexts(texts, withSchemas(configuration, await schemas()));
      return [];
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return error.problems;
    }
  }

  /**
   * What the synchronisation of the rules connector does with the set that was imported. A replay does the same.
   * @param tried what the set would do to everybody; null: not worked out yet
   */
  async decide(
    texts: readonly ConfigurationFile[],
    doer: Doer,
    tried: Tried | null = null,
  ): Promise<RulesDecision> {
    const { store } = this.#parts;
    const set = ruleSetHash(texts);
    const decided = rulesVersionOf(set, this.#rest);
    for (;;) {
      const stored = await store.head();
      const { head } = stored;
      const problems = await this.check(texts);
      if (problems.length > 0) {
        const candidate = {
          set,
          state: "refused" as const,
          at: head.candidate?.set === set ? head.candidate.at : this.#now(),
          version: null,
          reasons: shortReasons(problems.map(describeProblem)),
        };
        if ((await store.change(stored, { ...head, decided, candidate })) !== null)
          return { kind: "refused", problems };
        continue;
      }
      if (head.active?.set === set) {
        const settled = { ...head, decided, candidate: null };
        if (
          (head.decided === decided && head.candidate === null) ||
          (await store.change(stored, settled)) !== null
        )
          return { kind: "active" };
        continue;
      }
      const known = head.candidate;
      if (known?.set === set && known.version !== null) {
        const version = await store.version(known.version);
        if (
          version !== null &&
          (head.decided === decided || (await store.change(stored, { ...head, decided })))
        )
          return { kind: "waiting", version };
      }
      if (head.active !== null) {
        const against = head.active.set;
        if (tried === null && (await this.#isOtherwise(against, texts)))
          return { kind: "try", against, version: decided };
        if (tried !== null && tried.against !== against)
          return { kind: "overtaken", version: head.active.version };
      }
      const edits = await this.#editsOf(head);
      const effect = tried?.effect ?? null;
      const reasons = [...(await this.#withdrawn(head, texts)), ...(tried?.reasons ?? [])];
      if (reasons.length === 0) {
        const changed = await this.#activate(stored, texts, doer, { edits, decided, effect });
        if (changed !== null) return { kind: "activated", version: changed.version };
        continue;
      }
      await store.add(set, texts, this.#now());
      const version = await this.#newVersion(head, texts, doer, { edits, effect }, shortReasons(reasons));
      const candidate = {
        set,
        state: "waiting" as const,
        at: version.createdAt,
        version: version.version,
        reasons: version.reasons,
      };
      const next = { ...head, decided, candidate, last: version.version };
      if ((await store.change(stored, next, { versions: [version] })) !== null)
        return { kind: "waiting", version };
    }
  }

  /** Whether a synchronisation with these rules may come to another end than with those of the active set. */
  async #isOtherwise(active: string, texts: readonly ConfigurationFile[]): Promise<boolean> {
    const before = await this.#parts.store.texts(active);
    if (before === null) return true;
    const { deployment } = this.#parts;
    const now = compileRuleTexts(texts, deployment);
    try {
      const then = compileRuleTexts(before, deployment);
      return [...deployment.connectors.keys()].some(
        (connector) => synchronizationKey(then, connector) !== synchronizationKey(now, connector),
      );
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return true; // the deployment has changed, and the active rules do not check with it any more
    }
  }

  async #withdrawn(head: RulesHead, texts: readonly ConfigurationFile[]): Promise<readonly string[]> {
    return (await this.#changes(head, texts)).withdrawn;
  }

  async #changes(head: RulesHead, texts: readonly ConfigurationFile[]): Promise<RuleSetChanges> {
    const before = head.active === null ? null : await this.#parts.store.texts(head.active.set);
    if (before === null)
      return { added: texts.map(({ file }) => file), changed: [], deleted: [], withdrawn: [] };
    return compareRuleSets(readRuleTexts(before), readRuleTexts(texts));
  }

  async #newVersion(
    head: RulesHead,
    texts: readonly ConfigurationFile[],
    doer: Doer,
    { edits, effect = null }: { readonly edits: readonly RuleEdit[]; readonly effect?: RulesEffect | null },
    reasons: readonly string[] = [],
  ): Promise<RulesVersion> {
    const changes = await this.#changes(head, texts);
    const files = this.#documents().documents;
    // An edit that the files have overtaken is nobody's part in what changes now.
    const own = edits.filter((edit) => {
      const { name, text } = edit;
      if (text === null) return changes.deleted.includes(name) && countsOver(files, edit);
      const isInSet = texts.some((one) => one.file === editedFile(name) && one.text === text);
      return isInSet && [...changes.added, ...changes.changed].includes(name);
    });
    return {
      version: head.last + 1,
      set: ruleSetHash(texts),
      createdAt: this.#now(),
      author: own.length > 0 ? together(own.map(({ by }) => by)) : doer.by,
      why: own.length > 0 ? together(own.map(({ why }) => why)) : doer.why,
      counts: {
        rules: texts.length,
        added: changes.added.length,
        changed: changes.changed.length,
        deleted: changes.deleted.length,
      },
      reasons,
      effect,
      activated: null,
    };
  }

  /** Activates a set as a new version. @returns null when the head has changed meanwhile. */
  async #activate(
    stored: StoredHead,
    texts: readonly ConfigurationFile[],
    doer: Doer,
    more: {
      readonly edits: readonly RuleEdit[];
      readonly decided?: string;
      readonly effect?: RulesEffect | null;
    },
  ): Promise<{ readonly stored: StoredHead; readonly version: RulesVersion } | null> {
    const { head } = stored;
    const at = this.#now();
    const set = ruleSetHash(texts);
    await this.#parts.store.add(set, texts, at);
    const version: RulesVersion = {
      ...(await this.#newVersion(head, texts, doer, more)),
      activated: { at, ...doer },
    };
    const next: RulesHead = {
      ...head,
      active: { version: version.version, set },
      pinnedAgainst: null,
      candidate: null,
      last: version.version,
      ...(more.decided === undefined ? {} : { decided: more.decided }),
    };
    const changed = await this.#parts.store.change(stored, next, { versions: [version] });
    return changed === null ? null : { stored: changed, version };
  }

  // ---- by hand -----------------------------------------------------------------------------------------------------

  /**
   * Activates a stored version: approves one that waits, or rolls back to an earlier one. A rollback stands until the
   * files or edits change.
   * @param wanted a version's number, or its set's hash
   * @throws UnknownVersion, NoRulesConnector, ConfigurationError when it does not check with this deployment
   */
  async activate(wanted: string, doer: Doer): Promise<RulesVersion> {
    const { store, deployment, connector } = this.#parts;
    if (connector === null) throw new NoRulesConnector();
    for (;;) {
      const stored = await store.head();
      const { head } = stored;
      const version = await this.#find(wanted);
      const texts = version === null ? null : await store.texts(version.set);
      if (version === null || texts === null) throw new UnknownVersion(wanted);
      compileRuleTexts(texts, deployment);
      const given = await this.#given(head);
      const activated = { ...version, activated: { at: this.#now(), ...doer } };
      const next: RulesHead = {
        ...head,
        active: { version: version.version, set: version.set },
        pinnedAgainst: given.set === version.set ? null : given.set,
        candidate: null,
      };
      const isSame = head.active?.version === version.version && head.pinnedAgainst === next.pinnedAgainst;
      if (isSame && head.candidate === null) return version;
      if ((await store.change(stored, next, { versions: [activated] })) !== null) return activated;
    }
  }

  async #find(wanted: string): Promise<RulesVersion | null> {
    if (/^\d{1,8}$/.test(wanted)) return this.#parts.store.version(Number(wanted));
    let continuation: string | undefined;
    do {
      const page = await this.#parts.store.versions(1000, continuation);
      const found = page.versions.find(({ set }) => set === wanted);
      if (found !== undefined) return found;
      continuation = page.continuation;
    } while (continuation !== undefined);
    return null;
  }

  /**
   * Edits or deletes one rule; the next import of the rules connector stages it.
   * @param text null deletes the rule
   * @returns what is wrong with the set as it is then
   * @throws NoRulesConnector
   */
  async edit(name: string, text: string | null, doer: Doer): Promise<readonly ConfigurationProblem[]> {
    const { store, connector } = this.#parts;
    if (connector === null) throw new NoRulesConnector();
    for (;;) {
      const stored = await store.head();
      const { head } = stored;
      const below = this.#documents().documents.find((document) => document.name === name);
      const over = below === undefined ? null : textHash(below.text);
      const edit: RuleEdit = { name, text, over, ...doer, at: this.#now() };
      const next = { ...head, edits: head.edits + 1 };
      if ((await store.change(stored, next, { edit })) === null) continue;
      return this.check((await this.#source(next)).documents);
    }
  }

  // ---- questions ---------------------------------------------------------------------------------------------------

  async head(): Promise<RulesHead> {
    return (await this.#parts.store.head()).head;
  }

  /** The rules as the next import will see them, with who edited which. */
  async rules(): Promise<readonly (RuleDocument & { readonly edit: RuleEdit | null })[]> {
    const head = await this.head();
    const [{ documents }, edits] = [await this.#source(head), await this.#editsOf(head)];
    return documents.map((document) => ({
      ...document,
      edit: document.origin === "edit" ? (edits.find(({ name }) => name === document.name) ?? null) : null,
    }));
  }

  versions(limit: number, continuation?: string) {
    return this.#parts.store.versions(limit, continuation);
  }

  /** For the health of the deployment: whether the files are what is active. */
  async status(): Promise<RulesStatus> {
    const head = await this.head();
    const { set, documents, pinned } = await this.#source(head);
    const active = head.active === null ? "none" : String(head.active.version);
    if (pinned)
      return {
        status: "warning",
        message: `Version ${active} is active by hand; the files and edits have other rules, which count again when they change.`,
      };
    if (head.active?.set === set) return { status: "healthy", message: `Version ${active} is active.` };
    if (head.candidate?.set === set && head.candidate.state === "waiting")
      return {
        status: "warning",
        message: `Version ${head.candidate.version} waits for approval, version ${active} is active. ${head.candidate.reasons.join(" ")}`,
      };
    try {
      compileRuleTexts(documents, this.#parts.deployment);
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return {
        status: "failed",
        message: `The rules do not check, version ${active} stays active. ${shortReasons(error.problems.map(describeProblem), 3).join(" ")}`,
      };
    }
    if (head.candidate?.set === set)
      return {
        status: "failed",
        message: `The rules were refused, version ${active} stays active. ${shortReasons(head.candidate.reasons, 3).join(" ")}`,
      };
    return {
      status: "healthy",
      message: `Version ${active} is active; the next cycle takes newer rules up.`,
    };
  }

  #now(): string {
    return isoTime(this.#parts.clock.now());
  }
}
