//! A road from the load to the upstream: straight, or through a program that is measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use baton_test_harness::system::free_address;
use tempfile::TempDir;

use crate::process::{ChildProgram, ProcessFigures};
use crate::times::histogram;
use crate::wire::{Connection, Stopwatch};

const START: Duration = Duration::from_mins(2);
const ASK_EVERY: Duration = Duration::from_millis(1);

/// Where requests go, and what stands there.
pub(crate) struct RequestPath {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
    /// The headers of a caller who is limited, where there is one.
    limited: Option<Vec<(String, String)>>,
    program: Option<ChildProgram>,
    stores: Option<ProcessFigures>,
    /// From its start to its first good answer.
    pub(crate) start: Option<Duration>,
    /// What was resident then, in KiB.
    idle_kib: u64,
    folders: Vec<TempDir>,
}

/// A program as it is started.
pub(crate) struct ProgramPlan {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) command: Command,
    pub(crate) folder: TempDir,
}

impl RequestPath {
    /// Straight to the upstream.
    pub(crate) fn direct(upstream: SocketAddr) -> Self {
        Self {
            name: "direct".to_owned(),
            address: upstream,
            path: "/v1/messages".to_owned(),
            headers: vec![("x-api-key".to_owned(), "sk-direct".to_owned())],
            limited: None,
            program: None,
            stores: None,
            start: None,
            idle_kib: 0,
            folders: Vec::new(),
        }
    }

    /// Starts a program and waits until `body` is answered well.
    pub(crate) async fn open(mut plan: ProgramPlan, body: &str) -> Result<Self, String> {
        let begun = Instant::now();
        let program = ChildProgram::start(&mut plan.command, plan.folder.path())?;
        let mut road = Self {
            name: plan.name,
            address: plan.address,
            path: plan.path,
            headers: plan.headers,
            limited: None,
            program: Some(program),
            stores: None,
            start: None,
            idle_kib: 0,
            folders: Vec::new(),
        };
        road.answers(body, begun).await.map_err(|why| {
            let said = std::fs::read_to_string(plan.folder.path().join("stderr"));
            format!("{}: {why}; it said: {}", road.name, said.unwrap_or_default())
        })?;
        road.start = Some(begun.elapsed());
        road.idle_kib = road.resident_kib();
        road.folders.push(plan.folder);
        Ok(road)
    }

    /// The same road with its stores apart.
    pub(crate) fn with_stores(self, stores: ProcessFigures) -> Self {
        Self { stores: Some(stores), ..self }
    }

    /// The same road with a key that is limited, and the folder of its data.
    pub(crate) fn with_limited(mut self, limited: Vec<(String, String)>, data: TempDir) -> Self {
        self.folders.push(data);
        Self { limited: Some(limited), ..self }
    }

    async fn answers(&mut self, body: &str, begun: Instant) -> Result<(), String> {
        let request = self.request(body, false);
        loop {
            let why = match first_answer(self.address, &request).await {
                Ok(()) => return Ok(()),
                Err(why) => why.to_string(),
            };
            let is_over = self.program.as_mut().is_some_and(ChildProgram::is_over);
            if is_over || begun.elapsed() > START {
                return Err(why);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Whether it knows a limited caller.
    pub(crate) fn limits(&self) -> bool {
        self.limited.is_some()
    }

    /// A whole HTTP request.
    pub(crate) fn request(&self, body: &str, limited: bool) -> Vec<u8> {
        let headers = self.limited.as_ref().filter(|_| limited).unwrap_or(&self.headers);
        let mut head = format!("POST {} HTTP/1.1\r\nhost: {}\r\n", self.path, self.address);
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n");
        let end = format!("content-length: {}\r\n\r\n{body}", body.len());
        [head, end].concat().into_bytes()
    }

    /// CPU of the program (of a direct road: none).
    pub(crate) fn cpu(&self) -> Duration {
        self.program.as_ref().map_or(Duration::ZERO, |program| program.figures().cpu())
    }

    /// CPU of the stores behind it.
    pub(crate) fn stores_cpu(&self) -> Duration {
        self.stores.map_or(Duration::ZERO, ProcessFigures::cpu)
    }

    /// Resident memory of the program above what it was at the start.
    pub(crate) fn grown_kib(&self) -> u64 {
        self.resident_kib().saturating_sub(self.idle_kib)
    }

    /// Resident memory of the program.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.program.as_ref().map_or(0, |program| program.figures().resident_kib())
    }
}

async fn first_answer(address: SocketAddr, request: &[u8]) -> std::io::Result<()> {
    let (mut first, mut whole, mut events) = (histogram(), histogram(), histogram());
    let mut watch =
        Stopwatch { first: &mut first, whole: &mut whole, events: &mut events, stamped: false };
    Connection::to(address).await?.ask(request, &mut watch).await
}

/// A folder for what a program writes.
pub(crate) fn folder(name: &str) -> Result<TempDir, String> {
    TempDir::with_prefix(format!("baton-bench-{name}-")).map_err(|e| format!("a folder: {e}"))
}

/// nginx as a plain reverse proxy.
pub(crate) fn nginx(upstream: SocketAddr, threads: u32) -> Result<ProgramPlan, String> {
    let folder = folder("nginx")?;
    let address = free_address();
    let place = folder.path().display();
    let config = format!(
        "worker_processes {threads};\ndaemon off;\npid {place}/pid;\nerror_log {place}/error.log;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 100000000;\n  client_max_body_size 64m;\n\
         {temporary}\
         upstream up {{ server {upstream}; keepalive 1024; keepalive_requests 100000000; }}\n\
         server {{\n    listen {address} backlog=4096;\n    location / {{\n      proxy_pass http://up;\n\
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n\
         proxy_buffering off;\n      proxy_request_buffering off;\n    }}\n  }}\n}}\n",
        temporary = temporary_folders(folder.path()),
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, config).map_err(|e| format!("nginx.conf: {e}"))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
    let headers = vec![("x-api-key".to_owned(), "sk-direct".to_owned())];
    let path = "/v1/messages".to_owned();
    Ok(ProgramPlan { name: "nginx".to_owned(), address, path, headers, command, folder })
}

fn temporary_folders(place: &Path) -> String {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    kinds.map(|kind| format!("  {kind}_temp_path {}/{kind};\n", place.display())).concat()
}
