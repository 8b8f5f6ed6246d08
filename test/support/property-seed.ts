import fc from 'fast-check';

/**
 * Properties explore the same cases in every run, so that a change is judged by what it changed. INTAGLIO_SEED explores
 * others: a number, or `random`.
 */
const wanted = process.env.INTAGLIO_SEED ?? '1';
if (wanted !== 'random') fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(wanted) });
