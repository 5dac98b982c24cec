/**
 * Managers set, sponsors and members added and removed: exactly those that the change names.
 *
 * Members are added 20 to a request, all or none of them (https://learn.microsoft.com/graph/api/group-post-members), so
 * where one is refused they go one by one. Removing always names the reference: without `/$ref` the service deletes the
 * member itself (https://learn.microsoft.com/graph/api/group-delete-members).
 */
import type { AttributeChange } from "../../core/model.ts";
import { type AttributeValue, isReference, valuesOf } from "../../core/values.ts";
import type { ExportResult, SchemaAttribute } from "../../ports/connector.ts";
import { inParallel } from "../inParallel.ts";
import { refusal } from "./exportErrors.ts";
import { errorOf, type GraphAnswer } from "./failures.ts";
import type { Write } from "./objectExport.ts";

const addedMax = 20;
const removalsInFlight = 4;

export interface ReferenceScope {
  readonly write: Write;
  /** The absolute URL by which another object is named. */
  linkTo(id: string): string;
  /** Of the object, below the version. */
  readonly path: string;
  readonly dn: string;
  /** Just created: the replica that is asked may not know it yet. */
  readonly isNew: boolean;
  wait(): Promise<void>;
}

export class ReferenceExport {
  readonly #scope: ReferenceScope;

  constructor(scope: ReferenceScope) {
    this.#scope = scope;
  }

  /** @returns the failure; undefined when all is as it shall be */
  async send(
    { name, multiValued }: SchemaAttribute,
    { before, after }: AttributeChange,
    present: AttributeValue | undefined,
  ): Promise<ExportResult | undefined> {
    const [wanted, earlier, there] = [idsOf(after), idsOf(before), idsOf(present)];
    if (!multiValued) return this.#set(name, [...wanted]);
    const joining = [...wanted].filter((id) => !there.has(id));
    const leaving = [...earlier].filter((id) => !wanted.has(id) && there.has(id));
    return (await this.#remove(name, leaving)) ?? (await this.#add(name, joining));
  }

  async #set(name: string, [id, ...more]: readonly string[]): Promise<ExportResult | undefined> {
    if (more.length > 0) throw new TypeError(`${name} takes one value, ${more.length + 1} flow`);
    const path = `${this.#scope.path}/${name}/$ref`;
    const answer =
      id === undefined
        ? await this.#scope.write("DELETE", path)
        : await this.#patiently(() => this.#scope.write("PUT", path, this.#link(id)));
    return answer.status < 300 || (id === undefined && answer.status === 404)
      ? undefined
      : refusal(answer, this.#scope.dn);
  }

  async #remove(name: string, ids: readonly string[]): Promise<ExportResult | undefined> {
    const answers = await inParallel(removalsInFlight, ids, (id) =>
      this.#scope.write("DELETE", `${this.#scope.path}/${name}/${encodeURIComponent(id)}/$ref`),
    );
    const refused = answers.find(({ status }) => status >= 300 && status !== 404);
    return refused === undefined ? undefined : refusal(refused, this.#scope.dn);
  }

  async #add(name: string, ids: readonly string[]): Promise<ExportResult | undefined> {
    const size = name === "members" ? addedMax : 1;
    let problem: ExportResult | undefined;
    for (let start = 0; start < ids.length; start += size) {
      problem = (await this.#addSome(name, ids.slice(start, start + size))) ?? problem;
    }
    return problem;
  }

  /** Those that can be added are, though others cannot. @returns the last failure */
  async #addSome(name: string, ids: readonly string[]): Promise<ExportResult | undefined> {
    const answer = await this.#patiently(() =>
      name === "members"
        ? this.#scope.write("PATCH", this.#scope.path, {
            [`${name}@odata.bind`]: ids.map((id) => this.#scope.linkTo(id)),
          })
        : this.#scope.write("POST", `${this.#scope.path}/${name}/$ref`, this.#link(ids[0]!)),
    );
    if (answer.status < 300) return undefined;
    if (ids.length === 1) return isThereAlready(answer) ? undefined : refusal(answer, this.#scope.dn);
    let problem: ExportResult | undefined;
    for (const id of ids) problem = (await this.#addSome(name, [id])) ?? problem;
    return problem;
  }

  #link(id: string) {
    return { "@odata.id": this.#scope.linkTo(id) };
  }

  async #patiently(send: () => Promise<GraphAnswer>): Promise<GraphAnswer> {
    const answer = await send();
    if (answer.status !== 404 || !this.#scope.isNew) return answer;
    await this.#scope.wait();
    return send();
  }
}

/** Somebody else, or an earlier attempt, was faster. */
function isThereAlready(answer: GraphAnswer): boolean {
  return answer.status === 400 && /references already exist/i.test(errorOf(answer).text);
}

function idsOf(value: AttributeValue | undefined): Set<string> {
  return new Set(
    valuesOf(value).map((one) => {
      if (!isReference(one)) throw new TypeError("a reference is wanted, the value is none");
      return one.dn.toLowerCase();
    }),
  );
}
