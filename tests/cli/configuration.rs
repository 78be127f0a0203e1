//! The file and the environment of the program.

use crate::program::Program;

/// What a good file begins with.
const DATABASE: &str = "database = \"sqlite:keys.db\"\n";

#[test]
fn a_fault_of_the_configuration_is_named() {
    for (text, want) in [
        ("databse = \"sqlite:x\"", "unknown field `databse`"),
        ("database = \"mysql://host\"\n[format]\nprefix = \"a_\"", "not a URL such as sqlite:keys.db"),
        ("[format]\nprefix = \"a_\"", "There is no database"),
        ("[format\n", "in line 1"),
        ("[format]\nprefix = \"_\"\n", "a key starts with a letter or digit"),
        ("[format]\nprefix = \"a_\"\nsecret_length = 5", "at least 22"),
        ("[format]\nprefix = \"a_\"\ntest_mark = \"t_\"", "go together"),
        ("[format]\nprefix = \"a_\"\n[[also_accept]]\nprefix = \"a_\"", "format"),
        ("", "There is no format of keys"),
        ("peppers_file = \"nowhere\"\n[format]\nprefix = \"a_\"", "nowhere: No such file"),
        ("max_lifetime = \"long\"\n[format]\nprefix = \"a_\"", "max_lifetime: a duration is"),
        ("grantable_scopes = [\"no scope\"]\n[format]\nprefix = \"a_\"", "in line 2"),
    ] {
        let program = Program::empty(None);
        let database = if text.contains("no database") || text.contains("mysql") { "" } else { DATABASE };
        let database =
            if want.contains("no database") || text.starts_with("[format\n") { "" } else { database };
        std::fs::write(program.file("empty.toml"), format!("{DATABASE}[format]\nprefix = \"a_\"")).unwrap();
        program.run(["migrate", "--config", "empty.toml"]).done();
        std::fs::write(program.file("api-keys.toml"), format!("{database}{text}")).unwrap();
        let refused = program.run(["list"]).with(2);
        assert!(refused.err.contains(want), "{text}: {}", refused.err);
    }
}

#[test]
fn peppers_come_from_a_file_and_are_not_shown() {
    let program = Program::empty(None);
    let (first, second) = ("a".repeat(32), "b".repeat(32));
    let configure = |peppers: &str| {
        std::fs::write(program.file("peppers"), peppers).unwrap();
        let text = format!("{DATABASE}peppers_file = \"peppers\"\n[format]\nprefix = \"acme_\"\n");
        std::fs::write(program.file("api-keys.toml"), text).unwrap();
    };
    configure(&format!("1:{first}"));
    program.run(["migrate"]).done();
    program.key("Ours", &[]);
    for (peppers, want) in [("1:short", "at least 32 bytes"), ("", "peppers"), (&*second, "peppers")] {
        configure(peppers);
        let refused = program.run(["list"]).with(2);
        assert!(refused.err.to_lowercase().contains(want), "{}", refused.err);
        assert!(!refused.err.contains(&second));
    }
}

/// It would make secrets that the application refuses.
#[test]
fn without_the_peppers_no_secret_is_made() {
    let program = Program::empty(None);
    let configure = |peppers: &str| {
        let text = format!("{DATABASE}{peppers}\n[format]\nprefix = \"acme_\"\n");
        std::fs::write(program.file("api-keys.toml"), text).unwrap();
    };
    std::fs::write(program.file("peppers"), format!("1:{}", "a".repeat(32))).unwrap();
    configure("peppers_file = \"peppers\"");
    program.run(["migrate"]).done();
    let (id, secret) = program.key("Ours", &[]);
    configure("");
    for verb in [vec!["create", "x", "-o", "o", "--expires", "1d"], vec!["rotate", &id], vec!["import"]] {
        let refused = program.run_with(&verb, "{}").with(1);
        assert!(
            refused.err.contains("pepper 1") && refused.err.contains("API_KEYS_PEPPERS_FILE"),
            "{}",
            refused.err
        );
        assert_eq!(refused.out, "");
    }
    configure("peppers_file = \"peppers\"");
    program.run_with(["verify"], &secret).done();
}

#[test]
fn a_file_elsewhere_is_the_place_of_its_paths() {
    let program = Program::empty(None);
    std::fs::create_dir(program.file("etc")).unwrap();
    program.run(["init", "--prefix", "acme_", "--config", "etc/keys.toml"]).done();
    assert!(program.file("etc/api-keys.db").exists());
    program.run(["list", "--config", "etc/keys.toml"]).done();
    let elsewhere = program.run(["list"]).with(2);
    assert!(elsewhere.err.contains("There is no database"), "{}", elsewhere.err);
}

#[test]
fn tables_are_made_by_init_and_migrate_alone() {
    let program = Program::empty(None);
    std::fs::write(program.file("api-keys.toml"), format!("{DATABASE}[format]\nprefix = \"acme_\"")).unwrap();
    let missing = program.run(["list"]).with(1);
    assert!(missing.err.contains("init"), "{}", missing.err);
    assert!(!program.file("keys.db").exists());
    program.run(["init"]).done();
    program.run(["init"]).done();
    program.run(["list"]).done();
    let text = std::fs::read_to_string(program.file("api-keys.toml")).unwrap();
    assert_eq!(text, format!("{DATABASE}[format]\nprefix = \"acme_\""), "left as it is");

    let set_version = |version: i64, needed: i64| {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(program.file("keys.db"));
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
            let update = sqlx::query("UPDATE api_key_schema SET version = $1, needed_version = $2")
                .bind(version)
                .bind(needed);
            update.execute(&pool).await.unwrap();
        });
    };
    set_version(4, 0);
    let older = program.run(["list"]).with(1);
    assert!(older.err.contains("version 4") && older.err.contains("migrate"), "{}", older.err);
    set_version(99, 8);
    program.run(["list"]).done();
    set_version(99, 98);
    let newer = program.run(["list"]).with(1);
    assert!(newer.err.contains("version 99") && newer.err.contains("version 98 at least"), "{}", newer.err);
}

#[test]
fn init_contradicts_neither_the_environment_nor_the_file() {
    let init = |url: Option<&str>, file: &str, database: &str| {
        let program = Program::empty(url.map(str::to_owned));
        if !file.is_empty() {
            std::fs::write(program.file("api-keys.toml"), format!("{file}[format]\nprefix = \"acme_\""))
                .unwrap();
        }
        let ended = program.run(["init", "--database", database]);
        assert!(ended.status == 0 || !program.file("other.db").exists());
        assert!(ended.status == 0 || !file.is_empty() || !program.file("api-keys.toml").exists());
        assert!(!ended.err.contains("hunter2"), "{}", ended.err);
        (ended.status, ended.err)
    };
    for (url, file, database, want) in [
        (Some("sqlite:keys.db"), "", "sqlite:other.db", "DATABASE_URL names another database"),
        (None, DATABASE, "sqlite:other.db", "api-keys.toml names another database"),
        (None, "", "postgres://app:hunter2@127.0.0.1:1/keys", "A password is not an argument"),
        (None, "", "postgres://app@127.0.0.1:1/keys?password=hunter2", "A password is not an argument"),
    ] {
        let (status, said) = init(url, file, database);
        assert!(status == 2 && said.contains(want), "{database}: {said}");
    }
    for (url, file) in [(Some("sqlite:keys.db"), ""), (None, DATABASE), (None, "")] {
        assert_eq!(init(url, file, "sqlite:keys.db").0, 0);
    }
}

#[test]
fn init_writes_no_file_that_the_program_refuses() {
    for prefix in ["", "a b", "é'\""] {
        let program = Program::empty(None);
        let refused = program.run(["init", "--prefix", prefix]).with(2);
        assert!(refused.err.contains("prefix"), "{}", refused.err);
        assert!(!program.file("api-keys.toml").exists() && !program.file("api-keys.db").exists());
    }
    let program = Program::empty(None);
    program.run(["init", "--prefix", "acme_"]).done();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &program.file("api-keys.db").metadata().unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "it has the names of customers");
}

#[test]
fn init_does_not_pass_over_a_prefix() {
    let program = Program::new();
    let refused = program.run(["init", "--prefix", "other_"]).with(2);
    assert!(refused.err.contains("api-keys.toml is there, and has another prefix"), "{}", refused.err);
    program.run(["init", "--prefix", "acme_"]).done();
    program.run(["init"]).done();
}

#[test]
fn what_new_keys_may_be_is_configured() {
    let program = Program::new();
    let text = std::fs::read_to_string(program.file("api-keys.toml")).unwrap();
    let rules = "max_keys = 1\nmax_lifetime = \"30d\"\ngrantable_scopes = [\"invoice:read\"]\n";
    std::fs::write(program.file("api-keys.toml"), format!("{rules}{text}")).unwrap();
    let create = ["create", "Ours", "-o", "org_1", "--json", "--expires"];
    let create = |end, scope| program.run(create.iter().chain(&[end, "--scope", scope]));
    assert_eq!(create("31d", "invoice:read").with(2).error()["code"], "invalid");
    assert_eq!(create("29d", "invoice:create").with(2).error()["code"], "invalid");
    create("29d", "invoice:read").done();
    assert_eq!(create("29d", "invoice:read").with(4).error()["code"], "too_many_keys");
}

#[test]
fn a_database_that_does_not_answer_is_a_failure_without_its_password() {
    let program = Program::new();
    let mut command = program.command(["list", "--json"]);
    command.env("DATABASE_URL", "postgres://app:hunter2@127.0.0.1:1/keys");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("\"code\":\"unavailable\"") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_database_that_is_silent_is_a_failure_in_time() {
    let program = Program::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://app@{}/keys?sslmode=disable", silent.local_addr().unwrap());
    for verb in ["list", "migrate"] {
        let output = program.command([verb]).env("DATABASE_URL", &url).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("no connection within 5 seconds"), "{said}");
    }
}
