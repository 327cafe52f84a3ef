package policy

// word is what a code is called.
type word struct{ en, zh string }

// confidentialityWords name v3-Confidentiality.
var confidentialityWords = map[string]word{
	"U": {"unrestricted", "不受限"}, "L": {"low", "低"}, "M": {"moderate", "中等"},
	"N": {"normal", "普通"}, "R": {"restricted", "受限"}, "V": {"very restricted", "极受限"},
}

// codingWords name the codes that statements usually hold. A code that is not
// here is shown as it is. The words are part of what patients signed: they are
// added to, and not changed.
var codingWords = map[string]word{
	Read: {"read", "读取"}, Search: {"search", "检索"}, History: {"see earlier versions of", "查看历史版本"},
	Create: {"create", "新建"}, Update: {"update", "更新"}, Delete: {"delete", "删除"}, Lookup: {"look up", "查找"},

	SystemRole + "|doctor": {"doctor", "医生"}, SystemRole + "|nurse": {"nurse", "护士"},
	SystemRole + "|pharmacist": {"pharmacist", "药师"}, SystemRole + "|researcher": {"researcher", "研究人员"},
	SystemRole + "|auditor": {"auditor", "审计人员"}, SystemRole + "|admin": {"administrator", "管理人员"},
	SystemRole + "|records": {"records clerk", "病案管理员"}, SystemRole + "|patient": {"patient", "患者"},
	SystemRole + "|system": {"computer system", "计算机系统"},

	SystemPurpose + "|TREAT": {"treatment", "治疗"}, SystemPurpose + "|ETREAT": {"emergency treatment", "紧急治疗"},
	SystemPurpose + "|BTG": {"breaking the glass in an emergency", "紧急破窗访问"}, SystemPurpose + "|HPAYMT": {"payment", "付费"},
	SystemPurpose + "|HOPERAT": {"running the hospital", "医院运营"}, SystemPurpose + "|HRESCH": {"research", "研究"},
	SystemPurpose + "|CLINTRCH": {"clinical trials", "临床试验"}, SystemPurpose + "|PATRQT": {"the patient's own request", "患者本人请求"},
	SystemPurpose + "|FAMRQT": {"the family's request", "家属请求"}, SystemPurpose + "|PWATRNY": {"power of attorney", "受权代理"},
	SystemPurpose + "|SUPNWK": {"support by those close to the patient", "亲友支持"}, SystemPurpose + "|PUBHLTH": {"public health", "公共卫生"},
	SystemPurpose + "|COVERAGE": {"insurance coverage", "保险"}, SystemPurpose + "|HLEGAL": {"legal proceedings", "法律程序"},
	SystemPurpose + "|CAREMGT": {"care management", "照护管理"}, SystemPurpose + "|RECORDMGT": {"record keeping", "病案管理"},
	SystemPurpose + "|PATADMIN": {"patient administration", "患者事务管理"}, SystemPurpose + "|HTEST": {"testing", "测试"},

	SystemSensitivity + "|MH": {"mental health", "精神健康"}, SystemSensitivity + "|PSY": {"psychiatry", "精神科"},
	SystemSensitivity + "|PSYTHPN": {"psychotherapy notes", "心理治疗记录"}, SystemSensitivity + "|BH": {"behavioural health", "行为健康"},
	SystemSensitivity + "|SUD": {"substance use", "物质使用障碍"}, SystemSensitivity + "|ETH": {"substance abuse", "物质滥用"},
	SystemSensitivity + "|ETHUD": {"alcohol use", "酒精使用障碍"}, SystemSensitivity + "|OPIOIDUD": {"opioid use", "阿片类使用障碍"},
	SystemSensitivity + "|HIV": {"HIV", "艾滋病病毒"}, SystemSensitivity + "|STD": {"sexually transmitted disease", "性传播疾病"},
	SystemSensitivity + "|SEX": {"sexuality", "性与生殖健康"}, SystemSensitivity + "|GENDER": {"gender identity", "性别认同"},
	SystemSensitivity + "|SDV":  {"sexual assault or domestic violence", "性侵或家庭暴力"},
	SystemSensitivity + "|GDIS": {"genetics", "遗传信息"}, SystemSensitivity + "|VIP": {"a person of public interest", "公众人物"},

	SystemResourceType + "|Observation":              {"Observation (measurements and findings)", "Observation(检查与测量)"},
	SystemResourceType + "|Condition":                {"Condition (diagnoses and problems)", "Condition(诊断与问题)"},
	SystemResourceType + "|Procedure":                {"Procedure (treatments done)", "Procedure(操作与手术)"},
	SystemResourceType + "|Encounter":                {"Encounter (visits and stays)", "Encounter(就诊与住院)"},
	SystemResourceType + "|Patient":                  {"Patient (name, contact, birth date)", "Patient(姓名、联系方式、出生日期)"},
	SystemResourceType + "|Immunization":             {"Immunization (vaccinations)", "Immunization(疫苗接种)"},
	SystemResourceType + "|CarePlan":                 {"CarePlan (plans of care)", "CarePlan(照护计划)"},
	SystemResourceType + "|CareTeam":                 {"CareTeam (who takes part in care)", "CareTeam(照护团队)"},
	SystemResourceType + "|Device":                   {"Device (devices and implants)", "Device(器械与植入物)"},
	SystemResourceType + "|DiagnosticReport":         {"DiagnosticReport (reports)", "DiagnosticReport(诊断报告)"},
	SystemResourceType + "|DocumentReference":        {"DocumentReference (letters and notes)", "DocumentReference(文书与记录)"},
	SystemResourceType + "|MedicationRequest":        {"MedicationRequest (prescriptions)", "MedicationRequest(处方)"},
	SystemResourceType + "|MedicationAdministration": {"MedicationAdministration (medicines given)", "MedicationAdministration(给药)"},
	SystemResourceType + "|AllergyIntolerance":       {"AllergyIntolerance (allergies)", "AllergyIntolerance(过敏)"},
	SystemResourceType + "|ImagingStudy":             {"ImagingStudy (images)", "ImagingStudy(影像)"},
	SystemResourceType + "|SupplyDelivery":           {"SupplyDelivery (supplies)", "SupplyDelivery(物资供应)"},

	SystemObservationCategory + "|vital-signs":    {"vital signs", "生命体征"},
	SystemObservationCategory + "|laboratory":     {"laboratory results", "化验结果"},
	SystemObservationCategory + "|survey":         {"questionnaires", "问卷"},
	SystemObservationCategory + "|social-history": {"social history", "社会史"},
	SystemObservationCategory + "|imaging":        {"imaging", "影像"},
	SystemObservationCategory + "|procedure":      {"findings of procedures", "操作所见"},
	SystemObservationCategory + "|exam":           {"physical examination", "体格检查"},
	SystemObservationCategory + "|therapy":        {"therapy", "治疗过程"},
	SystemObservationCategory + "|activity":       {"activity", "活动"},
}
