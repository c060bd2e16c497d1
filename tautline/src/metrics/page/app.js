// The live page: takes snapshots from /events, and shows each link. It sends nothing.
'use strict';
const MOST_POINTS = 1200; // ten minutes
const $ = (id) => document.getElementById(id);
const links = []; // what is shown of each link: its elements, points and charts
let isPaused = false;
let source = null;
let latest = null;

const number = (value) => value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 1 : 0 });
const micros = (us) => {
  if (us == null) return '–';
  const size = Math.abs(us);
  if (size < 1e3) return `${us.toFixed(size < 10 ? 1 : 0)} µs`;
  if (size < 1e6) return `${(us / 1e3).toFixed(size < 1e4 ? 2 : 1)} ms`;
  return `${(us / 1e6).toFixed(2)} s`;
};
const short = (us) => {
  if (us < 1e3) return `${+us.toPrecision(3)} µs`;
  return us < 1e6 ? `${+(us / 1e3).toPrecision(3)} ms` : `${+(us / 1e6).toPrecision(3)} s`;
};
// A name is a stranger's text. What controls a line or turns its direction could show another address behind it.
const plain = (text) => text.replace(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu,
  (character) => `\\u${character.codePointAt(0).toString(16).padStart(4, '0')}`);
const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);

// Finds the elements of a new link by their data-is.
const open = (index) => {
  const section = $('link').content.firstElementChild.cloneNode(true);
  section.dataset.link = index;
  $('links').append(section);
  const parts = {};
  section.querySelectorAll('[data-is]').forEach((element) => { parts[element.dataset.is] = element; });
  return { section, parts, tiles: {}, times: [], rtt: [[], [], [], []], rates: [[], []], before: null, charts: [] };
};

const tile = (link, name, value, raw) => {
  let element = link.tiles[name];
  if (!element) {
    element = link.tiles[name] = document.createElement('div');
    element.append(document.createElement('b'), document.createElement('span'));
    element.lastChild.textContent = name;
    element.dataset.tile = name;
    link.parts.tiles.append(element);
  }
  element.firstChild.textContent = value;
  element.dataset.value = raw == null ? '' : raw;
};

const list = (element, rows, none) => {
  const item = ([name, value, kind]) => {
    const line = document.createElement('li');
    line.append(document.createElement('span'), document.createElement('b'));
    line.firstChild.textContent = name;
    line.lastChild.textContent = value;
    if (kind) line.lastChild.className = kind;
    return line;
  };
  const empty = document.createElement('li');
  empty.textContent = none;
  empty.className = 'none';
  element.replaceChildren(...(rows.length ? rows.map(item) : [empty]));
};

// Draws a chart of a link again: when it is new, or when the theme has changed.
const chart = (link, element, series, data, format, scale) => {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour('--soft'), grid: { stroke: colour('--line'), width: 1 }, ticks: { stroke: colour('--line'), width: 1 },
    font: '12px system-ui, sans-serif' };
  const options = {
    width: Math.max(element.clientWidth, 200),
    height: 220 - 36,
    cursor: { y: false },
    scales: { x: { time: false }, y: scale },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((at) => `${+at.toFixed(1)} s`) },
      { ...axis, size: 72, values: (_, ticks) => ticks.map((at) => (at == null ? '' : format(at))) },
    ],
    series: [
      { label: 'at', value: (_, at) => (at == null ? '–' : `${at.toFixed(1)} s`) },
      ...series.map(([label, name]) => ({ label, stroke: colour(name), width: 1.5, points: { show: false },
        value: (_, value) => (value == null ? '–' : format(value)) })),
    ],
  };
  element.replaceChildren();
  const plot = new uPlot(options, data, element);
  link.charts.push({ plot, element });
  return plot;
};

const draw = (link) => {
  const data = (lines) => [link.times, ...lines];
  if (!link.charts.length) {
    // Logarithmic, so that slow round trips do not hide the others.
    const lines = [['now', '--d'], ['p50', '--a'], ['p99', '--b'], ['max', '--c']];
    chart(link, link.parts.rtt, lines, data(link.rtt), short, { distr: 3 });
    const fromZero = { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] };
    chart(link, link.parts.rates, [['in', '--a'], ['out', '--b']], data(link.rates), number, fromZero);
    return;
  }
  link.charts[0].plot.setData(data(link.rtt));
  link.charts[1].plot.setData(data(link.rates));
};

const redraw = () => links.forEach((link) => {
  link.charts.forEach(({ plot }) => plot.destroy());
  link.charts = [];
  if (link.times.length) draw(link);
});

// Adds a point to the charts. A pause of the snapshots is drawn as a gap.
const remember = (link, time, found, rates) => {
  const isGap = link.times.length && time - link.times[link.times.length - 1] > 2;
  if (isGap) push(link, (time + link.times[link.times.length - 1]) / 2, [null, null, null, null], [null, null]);
  // A logarithmic axis has no 0.
  push(link, time, [found.statistics.rtt_us || null, found.rtt.p50_us, found.rtt.p99_us, found.rtt.max_us], rates);
};
const push = (link, time, rtt, rates) => {
  const lines = [[link.times, time], ...link.rtt.map((line, i) => [line, rtt[i]]), ...link.rates.map((line, i) => [line, rates[i]])];
  lines.forEach(([line, value]) => { line.push(value); if (line.length > MOST_POINTS) line.shift(); });
};

const show = (link, found, time) => {
  const { parts } = link;
  const counts = found.statistics;
  parts.title.textContent = plain(found.name);
  parts.state.textContent = found.state;
  parts.state.className = `badge ${found.state === 'connected' ? 'good' : found.state === 'connecting' ? 'wait' : 'bad'}`;
  parts.secured.textContent = found.secured ? 'secured' : '';
  parts.secured.className = 'badge good';
  const where = found.role === 'server' ? `server at ${found.local || found.endpoint}` : `client of ${found.endpoint}`;
  parts.place.textContent = `${where}, ${found.wire} wire, ${counts.peers} ${counts.peers === 1 ? 'peer' : 'peers'}`;
  const before = link.before;
  link.before = { time, received: counts.messages_received, sent: counts.messages_sent };
  const past = before && time > before.time ? time - before.time : null;
  const rate = (now, then) => (past == null || now < then ? null : (now - then) / past);
  const rates = [rate(counts.messages_received, before && before.received), rate(counts.messages_sent, before && before.sent)];
  const perSecond = (value) => (value == null ? '–' : `${number(value)}/s`);
  tile(link, 'round trip, p50', micros(found.rtt.p50_us), found.rtt.p50_us);
  tile(link, 'round trip, p99', micros(found.rtt.p99_us), found.rtt.p99_us);
  tile(link, 'round trip, max', micros(found.rtt.max_us), found.rtt.max_us);
  tile(link, 'age on arrival', micros(found.age_us), found.age_us);
  tile(link, 'since last heard', found.heard_ms == null ? '–' : micros(found.heard_ms * 1e3), found.heard_ms);
  tile(link, 'messages in', perSecond(rates[0]), counts.messages_received);
  tile(link, 'messages out', perSecond(rates[1]), counts.messages_sent);
  tile(link, 'datagrams lost', number(counts.lost), counts.lost);
  const dropped = sum(counts.datagrams_dropped) + sum(counts.messages_dropped) + sum(counts.inbox_dropped);
  tile(link, 'dropped', number(dropped), dropped);
  const error = found.clock_offset_error_us;
  tile(link, 'clock offset', micros(found.clock_offset_us), found.clock_offset_us);
  tile(link, 'offset error', error == null ? '–' : `±${micros(error)}`, error);
  tile(link, 'path size', found.path_mtu == null ? '–' : `${number(found.path_mtu)} B`, found.path_mtu);
  parts.trips.textContent = `latest ${number(found.rtt.count)} heartbeats`;
  const drops = [['datagrams', counts.datagrams_dropped], ['messages', counts.messages_dropped], ['inbox', counts.inbox_dropped],
    ['handlers', counts.handlers_dropped], ['sending', counts.send_dropped]];
  const rows = drops.flatMap(([of, by]) => Object.entries(by).map(([reason, count]) => [`${of}: ${reason.replaceAll('_', ' ')}`, number(count)]));
  if (counts.kernel_drops) rows.push(['receive buffer full', number(counts.kernel_drops)]);
  list(parts.drops, rows, 'nothing');
  list(parts.watchdogs, found.watchdogs.map((dog) => [plain(dog.of),
    `${dog.tripped ? 'TRIPPED' : dog.armed ? 'armed' : 'waiting'}, ${number(dog.trips)} ${dog.trips === 1 ? 'trip' : 'trips'}`,
    dog.tripped ? 'bad' : dog.armed ? 'good' : '']), 'none');
  const row = (peer) => {
    const line = document.createElement('tr');
    // Letters that are written from right to left would turn the address round, too.
    const name = document.createElement('bdi');
    name.textContent = plain(peer.name);
    const who = document.createElement('td');
    who.append(name, ` ${peer.address}`);
    const cells = [peer.state, micros(peer.rtt_us), peer.path_mtu == null ? '–' : `${peer.path_mtu} B`,
      number(peer.messages_received), number(peer.messages_sent), number(peer.lost)];
    line.append(who, ...cells.map((text) => { const cell = document.createElement('td'); cell.textContent = text; return cell; }));
    return line;
  };
  parts.peers.replaceChildren(...found.peers.map(row));
  parts.peersCard.hidden = !found.peers.length;
  remember(link, time, found, rates);
  draw(link);
};

const status = (text, kind) => { $('status').textContent = text; $('status').className = kind; };

const take = (snapshot) => {
  // After a restart of the server its clock and its counts begin anew.
  if (latest && (snapshot.number < latest.number || snapshot.time_s < latest.time_s)) removeAll();
  latest = snapshot;
  if (isPaused) return;
  while (links.length > snapshot.links.length) links.pop().section.remove();
  snapshot.links.forEach((found, index) => {
    if (!links[index]) links[index] = open(index);
    show(links[index], found, snapshot.time_s);
  });
  document.documentElement.dataset.number = snapshot.number;
  status(snapshot.links.length ? `live, tautline ${snapshot.version}` : 'live, no link', 'good');
};
const removeAll = () => { while (links.length) links.pop().section.remove(); };

const listen = () => {
  source = new EventSource('events');
  source.onmessage = (event) => take(JSON.parse(event.data));
  source.onerror = () => {
    status('no connection to tautline: trying again', 'bad');
    document.documentElement.dataset.number = '';
    // The browser tries again by itself, unless the answer was an error.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  };
};

const dark = matchMedia('(prefers-color-scheme: dark)');
let theme = null; // as the system has it
const paint = () => {
  document.documentElement.dataset.theme = theme || (dark.matches ? 'dark' : 'light');
  redraw();
};
const turn = () => { theme = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'; paint(); };
const pause = () => {
  isPaused = !isPaused;
  $('pause').textContent = isPaused ? 'Go on' : 'Pause';
  $('pause').setAttribute('aria-pressed', isPaused);
  if (isPaused) status('paused', 'wait'); else if (latest) take(latest);
};
const keys = () => { if ($('keys').open) $('keys').close(); else $('keys').showModal(); };

$('pause').onclick = pause;
$('theme').onclick = turn;
$('help').onclick = keys;
document.onkeydown = (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const link = links[Number(event.key) - 1];
  if (link) { link.section.focus({ preventScroll: true }); link.section.scrollIntoView({ block: 'start' }); }
  else if (event.key === 'p') pause();
  else if (event.key === 't') turn();
  else if (event.key === '?') keys();
};
dark.onchange = () => { if (!theme) paint(); };
new ResizeObserver(() => links.forEach((link) => link.charts.forEach(({ plot, element }) => {
  if (element.clientWidth) plot.setSize({ width: element.clientWidth, height: 220 - 36 });
}))).observe($('links'));
paint();
listen();
