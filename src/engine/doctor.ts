/** Looks at everything that a deployment depends on, one finding each, and changes nothing. */
import type { Connector, ConnectorContext, Finding } from "./ports/connector.ts";
import { ConnectorError } from "./ports/connector.ts";

export interface Examined extends Finding {
  /** The connector, or the part of the platform. */
  readonly of: string;
}

export interface Patient {
  readonly of: string;
  examine(): AsyncIterable<Finding>;
}

/** Those of these names, or all. A name that none of them has is a failure: what was not looked at is not well. */
export function patientsNamed(patients: readonly Patient[], only: readonly string[] | undefined): Patient[] {
  if (only === undefined) return [...patients];
  const names = patients.map(({ of }) => of);
  const missing = only.filter((name) => !names.includes(name));
  const absent = missing.map((of): Patient => {
    const message = `There is no ${of} to look at; there are ${names.join(", ")}.`;
    const remedy = "Look at settings first: while the configuration cannot be read there are no connectors.";
    return {
      of,
      async *examine() {
        yield { what: of, status: "failed", message, remedy };
      },
    };
  });
  return [...patients.filter(({ of }) => only.includes(of)), ...absent];
}

/** One after the other, so that a reader sees what is looked at; what takes too long is told as such. */
export async function* examineAll(patients: readonly Patient[], timeoutMs: number): AsyncGenerator<Examined> {
  for (const { of, examine } of patients) {
    const findings = examine()[Symbol.asyncIterator]();
    for (;;) {
      const next = await within(timeoutMs, findings.next());
      if (next === "late") {
        const message = `No answer within ${timeoutMs / 1000} s.`;
        yield { of, what: "time", status: "failed", message, remedy: "Check the address and the network." };
        break;
      }
      if (next.done === true) break;
      yield { of, ...next.value };
    }
  }
}

async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T | "late"> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A part that either answers or fails. */
export function answering(of: string, what: string, remedy: string, ask: () => Promise<unknown>): Patient {
  return {
    of,
    async *examine() {
      const begun = Date.now();
      try {
        await ask();
        yield { what, status: "ok", message: `Answered in ${Date.now() - begun} ms.` };
      } catch (error) {
        yield { what, status: "failed", message: (error as Error).message.split("\n", 1)[0]!, remedy };
      }
    },
  };
}

export function connectorPatients(connectors: ReadonlyMap<string, Connector>): Patient[] {
  const context: ConnectorContext = { log: () => undefined };
  const managed = [...connectors.values()].flatMap(({ containers = [] }) => [...containers]);
  return [...connectors].map(([of, connector]): Patient => {
    const { examine } = connector;
    if (examine === undefined) {
      return answering(of, "connection", `Check the settings of connector ${of}.`, () => connector.ping());
    }
    return { of, examine: () => failuresAsFindings(examine.call(connector, context, managed)) };
  });
}

async function* failuresAsFindings(findings: AsyncIterable<Finding>): AsyncGenerator<Finding> {
  try {
    yield* findings;
  } catch (error) {
    if (!(error instanceof ConnectorError)) throw error;
    yield { what: "connection", status: "failed", message: error.message };
  }
}
