import { type Command, InvalidArgumentError, Option } from 'commander';
import { integer, type Kind, oneOf } from '../../src/config/kinds.ts';

/** A decimal number such as 0.25. */
function decimal(min: number, max: number): Kind<number> {
  return {
    accepts: `a number from ${min} to ${max}`,
    parse(given) {
      const value =
        typeof given === 'string' && /^\d{1,9}(\.\d{1,9})?$/.test(given) ? Number(given) : Number.NaN;
      return value >= min && value <= max ? value : undefined;
    },
    format: String,
  };
}

interface OptionField<T> {
  readonly kind: Kind<T>;
  readonly standard: T;
  readonly meaning: string;
}

function field<T>(kind: Kind<T>, standard: T, meaning: string): OptionField<T> {
  return { kind, standard, meaning };
}

export const scenarioNames = ['overload', 'victim', 'backlogged', 'turns', 'mixed'] as const;

/** Every option once. The defaults of queues, jobs and deadlines are those of the service. */
export const optionFields = {
  scenario: field(oneOf('all', ...scenarioNames), 'all', 'what to simulate'),
  seed: field(integer(0, 2 ** 32 - 1), 1, 'same seed and options, same report'),
  cores: field(integer(1, 1024), 64, 'workers'),
  tenants: field(integer(20, 1_000_000), 10_000, 'tenants, in scenario overload'),
  rate: field(integer(1000, 20_000_000), 1_000_000, 'calls offered a second, in scenario overload'),
  load: field(decimal(0.001, 10), 0.2, "work that the victims ask for, as a share of the workers' time"),
  algorithm: field(
    oneOf('ed25519', 'ml-dsa-65', 'ecdsa-p256', 'rsa-2048'),
    'ml-dsa-65',
    'what victims sign with; the dearest, for aggressors, is rsa-4096',
  ),
  seconds: field(decimal(0.01, 3600), 1, 'virtual time that is counted'),
  warmUp: field(decimal(0, 3600), 0.25, 'virtual seconds before that'),
  noise: field(decimal(0, 2), 0.1, 'spread of real costs around their mean (sigma of the log-normal)'),
  machineFactor: field(decimal(0.1, 20), 1, 'real costs as a multiple of those that the registry guesses'),
  hopUs: field(integer(0, 10_000), 25, 'what each job costs its worker beside its calls'),
  slots: field(integer(1, 64), 16, 'jobs that a worker holds, the one it does among them'),
  jobBudgetUs: field(integer(1, 1_000_000), 300, 'cost of one job'),
  soloBudgetUs: field(
    integer(1, 1_000_000),
    1000,
    'cost of one job while only one tenant has calls waiting, which others overtake',
  ),
  jobMaxCalls: field(integer(1, 4096), 64, 'calls of one job'),
  readyUs: field(
    integer(0, 1_000_000),
    150,
    'further jobs only while less than this is under way for each worker; more where turns of the event loop are longer',
  ),
  quantumUs: field(integer(1, 1_000_000), 300, 'what a tenant of weight 1 may use in one turn'),
  queuePerTenant: field(integer(1, 65_536), 512, 'calls of one tenant that may wait'),
  queueTotal: field(integer(1, 1_048_576), 8192, 'calls of all tenants that may wait'),
  queueTargetMs: field(integer(1, 60_000), 5, 'wait of a tenant whose queue has stood for 100 ms'),
  loop: field(
    oneOf('off', 'on'),
    'off',
    'whether the thread that reads requests takes time: 14 us a request, 8 more to refuse it, 10 an answer, 10 a job',
  ),
  deadlineMs: field(integer(1, 60_000), 250, 'deadline of every call'),
  cancelShare: field(decimal(0, 1), 0.01, 'share of calls whose caller goes away if it has no answer'),
  patienceMs: field(decimal(0.001, 60_000), 20, 'mean time after which it does'),
  signRate: field(integer(0, 10_000_000), 0, 'signatures a second that a tenant may ask for; 0 for no limit'),
} as const;

type Fields = typeof optionFields;
export type Options = {
  readonly [Name in keyof Fields]: Fields[Name]['standard'] extends number ? number : string;
};

export const standardOptions = Object.fromEntries(
  Object.entries(optionFields).map(([name, { standard }]) => [name, standard]),
) as Options;

const flagOf = (name: string) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** Adds all of them to a command, which then refuses what is unknown or out of range. */
export function addOptions(command: Command): Command {
  for (const [name, { kind, standard, meaning }] of Object.entries(optionFields)) {
    const option = new Option(`${flagOf(name)} <value>`, `${meaning}; ${kind.accepts}`);
    option.default(standard).argParser((text) => {
      const value = kind.parse(text);
      if (value === undefined) throw new InvalidArgumentError(`It must be ${kind.accepts}.`);
      return value;
    });
    command.addOption(option);
  }
  return command;
}
